package volume

import (
	"bytes"
	"testing"

	"github.com/droveway/droveway"
)

func TestGrow(t *testing.T) {
	t.Parallel()
	for _, format := range formats {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			p := openPool(t)
			disk := testDisk()
			if err := p.Fill(t.Context(), "web.root", format, 0, bytes.NewReader(disk), droveway.Raw, nil); err != nil {
				t.Fatal(err)
			}
			const size = 1 << 40
			for range 2 { // the second time there is nothing to do
				if err := p.Grow(t.Context(), "web.root", size); err != nil {
					t.Fatal(err)
				}
			}
			if have, err := p.Size("web.root"); err != nil || have != size {
				t.Errorf("%d bytes, %v; want %d", have, err, int64(size))
			}
			path, is, err := p.Path("web.root")
			if err != nil || is != format {
				t.Fatalf("%s, %v", is, err)
			}
			if room := blocks(t, path); room > 8<<20 {
				t.Errorf("it takes %d bytes of room", room)
			}
			wantError(t, p.Grow(t.Context(), "web.root", size-512), droveway.Invalid, "web.root", "can only grow")
			if err := p.Grow(t.Context(), "web.root", size); err != nil {
				t.Error(err)
			}
			r, err := p.Reader(t.Context(), path, format)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			got := make([]byte, len(disk)+4096)
			if _, err := r.ReadAt(got, 0); err != nil {
				t.Fatal(err)
			}
			sameBytes(t, "after growth", got, append(disk, make([]byte, 4096)...))
		})
	}
}

func TestGrowRefuses(t *testing.T) {
	t.Parallel()
	p := openPool(t)
	wantError(t, p.Grow(t.Context(), "web.none", 1<<20), droveway.NotFound, "web.none")
	if err := p.Create(t.Context(), "web.root", droveway.Raw, 1<<20); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int64{-1, 1<<20 + 1, MaxSize + 512} {
		wantError(t, p.Grow(t.Context(), "web.root", size), droveway.Invalid, "web.root")
	}
}
