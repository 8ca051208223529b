package bus

import (
	"testing"

	"github.com/droveway/droveway"
)

func TestRecent(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{
		"2.15.2": true, "2.11.0": true, "v2.11.0-RC.1": true, "3.0.0": true,
		"2.10.29": false, "1.99.0": false, "": false, "2": false, "2.x": false,
	} {
		if got := recent(version); got != want {
			t.Errorf("NATS %q recent: %t, want %t", version, got, want)
		}
	}
}

// Events come from hosts, which may write anything into their subjects.
func FuzzDecodeEvent(f *testing.F) {
	f.Add("event.host.a.machine.running", []byte(`{"type":"machine.running","source":"host/a"}`))
	f.Add("event.host.a.x", []byte(`{"type":"x","source":"server"}`))
	f.Add("event.host.a.x", []byte(`{"type":"a.x","source":"host"}`))
	f.Add("", []byte(`[`))
	f.Fuzz(func(t *testing.T, subject string, data []byte) {
		e, ok := decodeEvent(subject, data)
		if ok && eventSubject(e) != subject {
			t.Errorf("%q passed as %+v", subject, e)
		}
	})
}

// Answers come from hosts, too.
func FuzzDecodeReply(f *testing.F) {
	for _, s := range []string{
		`{"value":{"a":1}}`, `{"error":{"kind":"conflict","message":"no"}}`, `{"error":{}}`, `{}`, `null`, `[`, ``,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var out map[string]any
		err := decodeReply(data, "a", "show", &out)
		if err != nil && (droveway.KindOf(err) == "" || err.Error() == "") {
			t.Errorf("%q gives an error without kind or message: %#v", data, err)
		}
	})
}
