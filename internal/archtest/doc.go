// Package archtest holds the repository's rules as tests: which package may
// import which, and what no file may contain. It touches nothing but the source
// files, which it reads. A rule that is in the way is changed here, with its
// reason, not worked around.
package archtest
