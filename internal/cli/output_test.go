package cli

import (
	"bytes"
	"testing"
)

// What a probe or a host tells of itself is no command to the reader's terminal.
func TestTablesArePlain(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	a := &app{env: Env{Out: &out}, output: "table"}
	columns := []column[string]{{title: "name", value: func(s string) string { return s }}}
	if err := printList(a, []string{"\x1b[2Jä", "\u009b1m", ""}, columns); err != nil {
		t.Fatal(err)
	}
	if err := printOne(a, "a\x07\n\tb", columns); err != nil {
		t.Fatal(err)
	}
	if want := "NAME\n?[2Jä\n?1m\n-\nname  a?\n      b\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

func TestParseOptOut(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "192.0.2.9/24": "192.0.2.0/24", "192.0.2.1:443": "192.0.2.1/32:443",
		"[2001:db8::1]:443": "2001:db8::1/128:443", "::ffff:192.0.2.1": "192.0.2.1/32",
	} {
		if o, err := ParseOptOut(text); err != nil || optOutText(o) != want {
			t.Errorf("%s: %s, %v", text, optOutText(o), err)
		}
	}
	for _, bad := range []string{"", "a", "192.0.2.1:0", "192.0.2.1:x", "192.0.2.1:1:2"} {
		if o, err := ParseOptOut(bad); err == nil {
			t.Errorf("%q is taken for %s", bad, optOutText(o))
		}
	}
}
