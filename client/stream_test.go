package client

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadStream(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in   string
		want []message
	}{
		"nothing":             {"", nil},
		"comments only":       {": begin\n\n: beat\n\n", nil},
		"one":                 {"data: a\n\n", []message{{"", []byte("a")}}},
		"number":              {"id: 7\ndata: a\n\n", []message{{"7", []byte("a")}}},
		"number stays":        {"id: 7\ndata: a\n\ndata: b\n\n", []message{{"7", []byte("a")}, {"7", []byte("b")}}},
		"lines":               {"data: a\ndata:\ndata: b\n\n", []message{{"", []byte("a\n\nb")}}},
		"no space":            {"data:a\n\n", []message{{"", []byte("a")}}},
		"only one space":      {"data:  a\n\n", []message{{"", []byte(" a")}}},
		"carriage return":     {"data: a\r\n\r\n", []message{{"", []byte("a")}}},
		"unknown field":       {"retry: 1\nevent: e\ndata: a\n\n", []message{{"", []byte("a")}}},
		"cut before the end":  {"data: a\n\ndata: b\n", []message{{"", []byte("a")}}},
		"a field by its name": {"data\n\n", []message{{"", []byte("")}}},
	} {
		var got []message
		err := readStream(strings.NewReader(c.in), func(m message) error { got = append(got, m); return nil })
		if d := cmp.Diff(c.want, got); d != "" || err != nil {
			t.Errorf("%s: %v %s", name, err, d)
		}
	}
}

func TestReadStreamIsBounded(t *testing.T) {
	t.Parallel()
	line := "data: " + strings.Repeat("x", 1<<20) + "\n"
	for _, in := range []string{strings.Repeat(line, 6) + "\n", "data: " + strings.Repeat("x", messageMax+1) + "\n\n"} {
		if readStream(strings.NewReader(in), func(message) error { return nil }) == nil {
			t.Errorf("a message of %d bytes was taken", len(in))
		}
	}
}

func FuzzReadStream(f *testing.F) {
	for _, s := range []string{"", "id: 1\ndata: {}\n\n", ": c\n\ndata: a\ndata: b\r\n\r\n", "data\n\n\x00\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		n := 0
		err := readStream(strings.NewReader(in), func(m message) error {
			n += len(m.Data)
			_, _, _ = event(m)
			return nil
		})
		if err == nil && n > len(in) {
			t.Errorf("read %d bytes out of %d", n, len(in))
		}
	})
}
