// Package client speaks the HTTP API of a Droveway server.
//
// It holds the wire types of the API, which the server uses too, the file that
// says where a server is (see Context), and one typed method for each
// operation. An error keeps the kind that the server gave it; a server that
// cannot be reached is of kind Unavailable. The package imports the nouns and
// the standard library only, and touches nothing but the network and the
// context file.
package client
