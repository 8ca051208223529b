package hand

import (
	"net"
	"strings"
	"testing"
)

// An order that cannot be carried out is answered with the reason, and the next
// one is heard.
func TestRefusals(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- Serve(ln) }()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for says, o := range map[string]Order{
		`there is no disk "none"`: {Do: Size, Disk: "none"},
		"multiples of 1048576":    {Do: Fill, Disk: "none", Offset: 512},
		"a range from 0 of -1048": {Do: Fill, Disk: "none", Length: -Chunk},
	} {
		if _, err := Ask(conn, o); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("order %+v: %v, want %q", o, err, says)
		}
	}
	conn.Close()
	ln.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestPatternsDiffer(t *testing.T) {
	t.Parallel()
	full := func(int64) bool { return false }
	sums := map[string]bool{
		SumOf(0, Chunk, full): true, SumOf(Chunk, Chunk, full): true, SumOf(0, 2*Chunk, full): true,
		SumOf(0, 2*Chunk, func(at int64) bool { return at == 0 }): true, SumOf(0, Chunk, func(int64) bool { return true }): true,
	}
	if len(sums) != 5 || !sums[SumOf(0, Chunk, full)] {
		t.Errorf("sums %v: want five that differ, and the same for the same", sums)
	}
}
