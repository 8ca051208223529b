// Package source reads images from where their owners keep them: web servers and
// S3.
//
// It opens connections to the addresses that it is given and touches nothing
// else. A server's word is not trusted: a range that is not the one that was asked
// for, or is of other contents, is noticed.
package source
