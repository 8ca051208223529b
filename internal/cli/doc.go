// Package cli is the command line of Droveway: noun, then verb.
//
// There is a file for each group of commands. Everything goes through the public
// API by way of package client; the package touches nothing else than the
// context file, the files that a person names, and the streams of its Env.
package cli
