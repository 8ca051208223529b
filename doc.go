// Package droveway holds the nouns of Droveway: hosts, machines, volumes,
// images, networks, jobs and events, their states, what makes them valid, and
// the kinds of error.
//
// It imports the standard library only and does nothing by itself. Read it
// first: every other package speaks in these terms. What is wanted stands in a
// Spec and is written by the API and the controllers; what is observed stands in
// a Status and is written by its one owner.
package droveway
