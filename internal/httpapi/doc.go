// Package httpapi is the HTTP API of the server: an OpenAPI 3.1 description made
// from the Go types of package client, errors as problems (RFC 9457), long work
// as jobs, changes as server-sent events.
//
// It checks who asks and what is asked, and hands on to the systems; it decides
// nothing about machines itself. Of the tables it writes those of hosts (when one
// joins, is cordoned or leaves), images, networks and tokens.
package httpapi
