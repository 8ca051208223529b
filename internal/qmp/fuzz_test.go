package qmp

import (
	"strings"
	"testing"
)

func FuzzParse(f *testing.F) {
	for _, line := range []string{
		hello,
		`{"return":{},"id":1}`,
		`{"return":[],"id":18446744073709551615}`,
		`{"error":{"class":"GenericError","desc":"x"},"id":2}`,
		`{"event":"STOP","timestamp":{"seconds":-1,"microseconds":-1}}`,
		`{"event":"STOP","return":{}}`,
		`{}`, `[]`, `null`, ``, `{"id":-1,"return":1}`, strings.Repeat(`[`, 1000),
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		m, err := parse(line)
		if err != nil {
			return
		}
		if m.Greeting == nil && m.Return == nil && m.Error == nil && m.Event == "" {
			t.Errorf("%q is a message with nothing in it", line)
		}
		_ = m.Time.time()
	})
}
