package droveway

import (
	"regexp"
	"time"
)

// Meta is what every stored object has.
type Meta struct {
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
}

const nameMax = 63

// A name becomes part of file names, bus subjects and host names, so it is a
// DNS label (RFC 1123) in lower case.
var namePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

// ValidName checks the name of an object; noun says in the message what it
// names.
func ValidName(noun, name string) error {
	switch {
	case name == "":
		return Errorf(Invalid, "%s name is empty: give it a name such as %q", noun, noun+"-1")
	case len(name) > nameMax:
		return Errorf(Invalid, "%s name %q has %d characters: at most %d", noun, name, len(name), nameMax)
	case !namePattern.MatchString(name):
		return Errorf(Invalid, "%s name %q: use lower-case letters, digits and inner hyphens", noun, name)
	}
	return nil
}

var sha256Pattern = regexp.MustCompile(`^([0-9a-fA-F]{64})?$`)

// ValidSHA256 checks a SHA-256 in hexadecimal; empty is none, and fine.
func ValidSHA256(sum string) error {
	if !sha256Pattern.MatchString(sum) {
		return Errorf(Invalid, "sha256 %q: 64 hexadecimal digits are needed", sum)
	}
	return nil
}
