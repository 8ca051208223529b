package droveway

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestValidName(t *testing.T) {
	t.Parallel()
	for name, says := range map[string]string{
		"a":                           "",
		"0":                           "",
		"web-1":                       "",
		"a--b":                        "",
		strings.Repeat("a", 63):       "",
		"":                            `give it a name such as "machine-1"`,
		strings.Repeat("a", 64):       "64 characters: at most 63",
		"-a":                          "inner hyphens",
		"a-":                          "inner hyphens",
		"-":                           "inner hyphens",
		"Web":                         "lower-case",
		"a.b":                         "lower-case",
		"a_b":                         "lower-case",
		"a/b":                         "lower-case",
		"..":                          "lower-case",
		"a b":                         "lower-case",
		"a\n":                         "lower-case",
		"\na":                         "lower-case",
		"a\x00":                       "lower-case",
		"ä":                           "lower-case",
		"*":                           "lower-case",
		">":                           "lower-case",
		strings.Repeat("ä", 32):       "64 characters", // bytes are what file systems count
		"a" + strings.Repeat("-", 62): "inner hyphens",
	} {
		err := ValidName("machine", name)
		if says == "" && err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if says != "" && (!Is(err, Invalid) || !strings.Contains(err.Error(), says)) {
			t.Errorf("%q: error %v; want it invalid and to say %q", name, err, says)
		}
	}
}

// A valid name is a file name, a token of a bus subject and a DNS label as it
// stands.
func FuzzValidName(f *testing.F) {
	for _, s := range []string{"web-1", "", "a.b", "../x", "A", "-", "a\n", "ä", strings.Repeat("x", 64)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		err := ValidName("machine", name)
		if err != nil {
			if !Is(err, Invalid) {
				t.Errorf("%q: %v is not of kind invalid", name, err)
			}
			return
		}
		if name == "" || len(name) > 63 || name[0] == '-' || name[len(name)-1] == '-' {
			t.Errorf("%q is no DNS label", name)
		}
		if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || strings.ContainsAny(name, ".*> \t\r\n/\\\x00") {
			t.Errorf("%q has characters that mean something to the bus or the file system", name)
		}
		if filepath.Base(name) != name {
			t.Errorf("%q is no file name", name)
		}
	})
}

func TestVolumeName(t *testing.T) {
	t.Parallel()
	if got := VolumeName("web-1", "root"); got != "web-1.root" {
		t.Error(got)
	}
}

func TestValidSHA256(t *testing.T) {
	t.Parallel()
	for sum, fine := range map[string]bool{
		"": true, strings.Repeat("0a", 32): true, strings.Repeat("FE", 32): true,
		"abc": false, strings.Repeat("0", 63): false, strings.Repeat("0", 65): false, strings.Repeat("x", 64): false, strings.Repeat("0", 64) + "\n": false,
	} {
		if err := ValidSHA256(sum); (err == nil) != fine || err != nil && !Is(err, Invalid) {
			t.Errorf("%q: %v", sum, err)
		}
	}
}
