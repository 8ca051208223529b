package hypervisortest

import (
	"bytes"
	"encoding/binary"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// The guest of the suite counts. For each count it writes, on every disk, a
// sector that begins with the count (32 bits, little endian) at
// 64 KiB × (1 + count mod 64), then the same to sector 1, and when the disks have
// acknowledged that, the count as a line of eight hexadecimal digits to its
// console. When it boots it goes on from sector 1 of its first disk and prints a
// line that ends in "boot". If its memory is not as it left it, or a disk
// answers with an error, it prints "BAD" and stops counting.
const (
	sector    = 512
	ringUnit  = 64 << 10
	ringSlots = 64

	// DiskSize is the size of the suite's disks.
	DiskSize = 12 << 20
)

// wait bounds everything that the suite waits for. It is long because hosts of
// tests are busy.
const wait = 90 * time.Second

// console is what a guest has printed.
type console struct {
	counts []uint32
	boots  int
	bad    bool
}

var line = regexp.MustCompile(`(?m)^([0-9A-F]{8})\r?$`)

// readConsole reads consoles that follow one another: a guest may move in the
// middle of a line.
func readConsole(t *testing.T, paths ...string) console {
	t.Helper()
	var b []byte
	for _, path := range paths {
		part, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, part...)
	}
	c := console{boots: bytes.Count(b, []byte("boot\n")), bad: bytes.Contains(b, []byte("BAD"))}
	if end := bytes.LastIndexByte(b, '\n'); end >= 0 {
		b = b[:end+1] // the guest may be in the middle of a line
	}
	for _, m := range line.FindAllSubmatch(b, -1) {
		n, err := strconv.ParseUint(string(m[1]), 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		c.counts = append(c.counts, uint32(n))
	}
	return c
}

// last is the newest count, 0 if there is none.
func (c console) last() uint32 {
	if len(c.counts) == 0 {
		return 0
	}
	return c.counts[len(c.counts)-1]
}

// gapless fails the test unless the counts follow one another.
func (c console) gapless(t *testing.T) {
	t.Helper()
	for i := 1; i < len(c.counts); i++ {
		if c.counts[i] != c.counts[i-1]+1 {
			t.Errorf("%08X follows %08X: a count is lost or there twice", c.counts[i], c.counts[i-1])
		}
	}
	if c.bad {
		t.Error("the guest says BAD: its memory or its disk is damaged")
	}
}

// holds fails the test unless a disk has every count that the guest has seen
// acknowledged, of those that the ring has room for.
func holds(t *testing.T, disk []byte, last uint32) {
	t.Helper()
	if n := binary.LittleEndian.Uint32(disk[sector:]); n < last {
		t.Errorf("sector 1 has count %08X, but %08X was acknowledged", n, last)
	}
	for n := last; n > 0 && n+ringSlots > last; n-- {
		at := ringUnit * (1 + int(n%ringSlots))
		if got := binary.LittleEndian.Uint32(disk[at:]); got < n {
			t.Errorf("the disk has count %08X where %08X was acknowledged", got, n)
		}
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, met func() bool) {
	t.Helper()
	deadline := time.Now().Add(wait)
	for !met() {
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// counting waits until a guest has printed n more counts, and returns the last.
func counting(t *testing.T, path string, n int) uint32 {
	t.Helper()
	var c console
	before := len(readConsole(t, path).counts)
	eventually(t, "the guest counts", func() bool {
		c = readConsole(t, path)
		return len(c.counts) >= before+n || c.bad
	})
	if c.bad {
		t.Fatal("the guest says BAD")
	}
	return c.last()
}

// still checks that a guest does not count.
func still(t *testing.T, path string) {
	t.Helper()
	before := readConsole(t, path).last()
	time.Sleep(300 * time.Millisecond)
	if now := readConsole(t, path).last(); now != before {
		t.Errorf("the guest went on from %08X to %08X", before, now)
	}
}
