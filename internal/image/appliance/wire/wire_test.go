package wire

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway"
)

func TestEventsArrive(t *testing.T) {
	t.Parallel()
	sent := []Event{
		{Step: "fstab"},
		{Change: &Change{Step: "fstab", Path: "/etc/fstab", Before: "a", After: "b", Backup: "/etc/fstab.droveway-orig"}},
		{Said: "two\nlines"},
		{Failed: &Failure{"initramfs", droveway.Internal, "it broke"}},
		{Done: true},
	}
	var b bytes.Buffer
	for _, e := range sent {
		b.WriteString("noise of the guest\r\n\n")
		if err := Send(&b, e); err != nil {
			t.Fatal(err)
		}
	}
	var got []Event
	if err := Receive(&b, func(e Event) { got = append(got, e) }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sent, got); diff != "" {
		t.Error(diff)
	}
}

// TestTooMuch bounds what a guest can make its host keep.
func TestTooMuch(t *testing.T) {
	t.Parallel()
	for name, said := range map[string]string{
		"one line":   strings.Repeat("x", maxLine+1),
		"many lines": strings.Repeat(`{"said":"`+strings.Repeat("x", 10000)+"\"}\n", maxSaid/10000+1),
	} {
		if err := Receive(strings.NewReader(said), func(Event) {}); !droveway.Is(err, droveway.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var b bytes.Buffer
	if err := Send(&b, Event{Said: strings.Repeat("\x00", maxLine) + "the end"}); err != nil {
		t.Fatal(err)
	}
	var got Event
	if err := Receive(&b, func(e Event) { got = e }); err != nil || !strings.HasSuffix(got.Said, "the end") {
		t.Errorf("%v: %q", err, got.Said)
	}
}

func FuzzReceive(f *testing.F) {
	f.Add([]byte("{\"step\":\"a\"}\n{\"done\":true}\n"))
	f.Add([]byte("{\"failed\":{\"kind\":\"invalid\",\"what\":\"x\"}}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		if err := Receive(bytes.NewReader(b), func(Event) { n++ }); err == nil && n > bytes.Count(b, []byte("\n"))+1 {
			t.Errorf("%d events in %q", n, b)
		}
	})
}
