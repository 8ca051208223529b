package volume

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway"
)

// memory is a copy of a disk in memory, a Summer and a Reader.
type memory struct {
	mu     sync.RWMutex
	bytes  []byte
	before func(chunk int64) // called before each chunk is looked at
}

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	if m.before != nil {
		m.before(off / ChunkSize)
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	return bytes.NewReader(m.bytes).ReadAt(p, off)
}

func (m *memory) Size() int64  { return int64(len(m.bytes)) }
func (m *memory) Close() error { return nil }

func (m *memory) Sums(ctx context.Context, chunks []int64) ([]Sum, error) {
	return hashAll(ctx, m, chunks)
}

func (m *memory) write(p []byte, off int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	copy(m.bytes[off:], p)
}

func all(n int64) (chunks []int64) {
	for c := range n {
		chunks = append(chunks, c)
	}
	return chunks
}

func TestSums(t *testing.T) {
	t.Parallel()
	disk := testDisk()
	want := make([]Sum, 0, 4)
	for off := 0; off < len(disk); off += ChunkSize {
		want = append(want, sha256.Sum256(disk[off:min(off+ChunkSize, len(disk))]))
	}
	for _, format := range formats {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			p := openPool(t)
			if err := p.Fill(t.Context(), "a", format, 0, bytes.NewReader(disk), droveway.Raw, nil); err != nil {
				t.Fatal(err)
			}
			got, err := p.Prover("a").Sums(t.Context(), all(4))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("sums (-want +got):\n%s", d)
			}
			for _, bad := range [][]int64{{4}, {-1}, all(MaxChunks + 1)} {
				_, err := p.Prover("a").Sums(t.Context(), bad)
				wantError(t, err, droveway.Invalid)
			}
		})
	}
	_, err := openPool(t).Prover("none").Sums(t.Context(), all(1))
	wantError(t, err, droveway.NotFound)
}

func TestHolesAreNotRead(t *testing.T) {
	t.Parallel()
	p := openPool(t)
	const size = 32 << 30 // reading it would take half a minute
	if err := p.Create(t.Context(), "a", droveway.Raw, size); err != nil {
		t.Fatal(err)
	}
	if err := p.Create(t.Context(), "b", droveway.Raw, size); err != nil {
		t.Fatal(err)
	}
	path, _, err := p.Path("b")
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{1}, 27<<30); err != nil {
		t.Fatal(err)
	}
	differ, err := Compare(t.Context(), p.Prover("a"), p.Prover("b"), size, nil)
	if d := cmp.Diff([]int64{27 << 10}, differ); d != "" || err != nil {
		t.Errorf("differing (-want +got):\n%s%v", d, err)
	}
}

func TestCompareFindsEveryDifference(t *testing.T) {
	t.Parallel()
	disk := noise(3, 5<<20+512)
	for _, off := range []int{0, 1<<20 - 1, 1 << 20, 3<<20 + 17, 5 << 20, 5<<20 + 511} {
		other := bytes.Clone(disk)
		other[off] ^= 0x10
		a, b := &memory{bytes: disk}, &memory{bytes: other}
		var done, total int64
		differ, err := Compare(t.Context(), a, b, a.Size(), func(d, n int64) { done, total = d, n })
		if d := cmp.Diff([]int64{int64(off) / ChunkSize}, differ); d != "" || err != nil {
			t.Errorf("byte %d (-want +got):\n%s%v", off, d, err)
		}
		if done != a.Size() || total != a.Size() {
			t.Errorf("progress ended at %d of %d", done, total)
		}
		again, err := CompareChunks(t.Context(), a, b, differ)
		if d := cmp.Diff(differ, again); d != "" || err != nil {
			t.Errorf("byte %d again (-want +got):\n%s%v", off, d, err)
		}
	}
}

// TestCompareUnderWrites lets a guest write to both copies, one after the other,
// at every moment of the comparison. SYSTEMS 6.8
func TestCompareUnderWrites(t *testing.T) {
	t.Parallel()
	const size = 8 << 20
	for _, planted := range []int64{-1, 0, 5<<20 + 3} {
		a, b := &memory{bytes: noise(4, size)}, &memory{bytes: noise(4, size)}
		guest := func(chunk int64) { // before, at and after the chunk that is looked at
			for i, c := range []int64{chunk - 1, chunk, chunk + 1} {
				off := (c+8)%8*ChunkSize + 100*int64(i) + 1000
				a.write([]byte{byte(chunk), byte(i)}, off)
				b.write([]byte{byte(chunk), byte(i)}, off)
			}
		}
		a.before, b.before = guest, nil
		var want []int64
		if planted >= 0 {
			b.bytes[planted] ^= 1
			want = []int64{planted / ChunkSize}
		}
		differ, err := Compare(t.Context(), a, b, size, nil)
		if err != nil {
			t.Fatal(err)
		}
		a.before = nil // the guest is held still
		differ, err = CompareChunks(t.Context(), a, b, differ)
		if d := cmp.Diff(want, differ); d != "" || err != nil {
			t.Errorf("planted at %d (-want +got):\n%s%v", planted, d, err)
		}
		if planted < 0 && !bytes.Equal(a.bytes, b.bytes) {
			t.Error("the guest of this test did not write to both")
		}
	}
}

// TestProofOfDisksInUse compares a raw and a qcow2 copy while a process has them
// open and writes to both. SYSTEMS 6.8
func TestProofOfDisksInUse(t *testing.T) {
	t.Parallel()
	p, size := openPool(t), int64(8<<20)
	var guest []*writer
	for name, format := range map[string]droveway.Format{"a": droveway.Raw, "b": droveway.QCOW2} {
		if err := p.Create(t.Context(), name, format, size); err != nil {
			t.Fatal(err)
		}
		path, _, err := p.Path(name)
		if err != nil {
			t.Fatal(err)
		}
		guest = append(guest, openWriter(t, path, format))
	}
	both := func(do func(*writer)) {
		for _, w := range guest {
			do(w)
		}
	}
	both(func(w *writer) { w.write(1, 0, 3<<20); w.flush() }) // T
	both(func(w *writer) { w.write(2, 2<<20, 4096); w.write(3, 6<<20, 4096) })
	a, b := p.Prover("a"), p.Prover("b")
	differ, err := Compare(t.Context(), a, b, size, nil)
	if err != nil {
		t.Fatal(err)
	}
	both((*writer).flush) // held still
	if differ, err = CompareChunks(t.Context(), a, b, append(differ, 6)); err != nil || len(differ) != 0 {
		t.Errorf("differ: %v, %v", differ, err)
	}
	guest[0].write(9, 4<<20, 512) // reaches one copy only
	guest[0].flush()
	differ, err = CompareChunks(t.Context(), a, b, all(8))
	if d := cmp.Diff([]int64{4}, differ); d != "" || err != nil {
		t.Errorf("one-sided write (-want +got):\n%s%v", d, err)
	}
}

// answers is a Summer that answers so.
type answers func(ctx context.Context, chunks []int64) ([]Sum, error)

func (a answers) Sums(ctx context.Context, chunks []int64) ([]Sum, error) { return a(ctx, chunks) }

func TestCompareFails(t *testing.T) {
	t.Parallel()
	good := &memory{bytes: noise(5, 1<<20)}
	down := answers(func(context.Context, []int64) ([]Sum, error) {
		return nil, droveway.Errorf(droveway.Unavailable, "host b is silent")
	})
	waits := answers(func(ctx context.Context, _ []int64) ([]Sum, error) {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	})
	few := answers(func(context.Context, []int64) ([]Sum, error) { return nil, nil })
	for _, c := range []struct {
		a, b Summer
		kind droveway.Kind
	}{
		{good, down, droveway.Unavailable},
		{down, good, droveway.Unavailable},
		{down, waits, droveway.Unavailable}, // does not wait for the other side
		{waits, down, droveway.Unavailable},
		{good, few, droveway.Internal},
		{few, good, droveway.Internal},
	} {
		_, err := Compare(t.Context(), c.a, c.b, 1<<20, nil)
		wantError(t, err, c.kind)
	}
	stopped, stop := context.WithCancelCause(t.Context())
	stop(errors.New("enough"))
	_, err := CompareChunks(stopped, good, good, all(1))
	wantError(t, err, droveway.Unavailable, "enough")
}

func TestSumAsJSON(t *testing.T) {
	t.Parallel()
	sums := make([]Sum, MaxChunks)
	for i := range sums {
		sums[i] = sha256.Sum256([]byte{byte(i), byte(i >> 8)})
	}
	b, err := json.Marshal(sums)
	if err != nil || len(b) > 9<<10 {
		t.Fatalf("%d bytes of JSON, %v", len(b), err)
	}
	var back []Sum
	if err := json.Unmarshal(b, &back); err != nil || !cmp.Equal(sums, back) {
		t.Errorf("they do not come back: %v", err)
	}
}

func FuzzSum(f *testing.F) {
	f.Add("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
	f.Add("e3")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		var s Sum
		if err := s.UnmarshalText([]byte(text)); err != nil {
			wantError(t, err, droveway.Invalid)
			return
		}
		if b, err := s.MarshalText(); err != nil || !bytes.EqualFold(b, []byte(text)) {
			t.Errorf("%q came back as %q, %v", text, b, err)
		}
	})
}

func TestReaderOfTornFile(t *testing.T) {
	t.Parallel()
	p := openPool(t)
	path := write(t, filepath.Join(p.dir, "a.raw"), noise(6, 1<<20))
	r, err := p.Reader(t.Context(), path, droveway.Raw)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := os.Truncate(path, 1000); err != nil {
		t.Fatal(err)
	}
	_, err = newHasher(r).sum(0)
	wantError(t, err, droveway.Unavailable, "EOF")
}
