package inflate

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"crypto/sha256"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// samples are data that are packed in different ways.
func samples() map[string][]byte {
	noise := make([]byte, 300_000)
	for at, sum := 0, sha256.Sum256(nil); at < len(noise); at, sum = at+len(sum), sha256.Sum256(sum[:]) {
		copy(noise[at:], sum[:])
	}
	skewed := make([]byte, 400_000) // codewords of all lengths
	for i := range skewed {
		c := noise[i%len(noise)]
		for c != 0 && noise[(i*7+int(c))%len(noise)]&1 == 1 {
			c >>= 1
		}
		skewed[i] = c
	}
	near := make([]byte, 200_000) // copies from all small distances
	for i := range near {
		near[i] = byte(i % (1 + i/5000%40))
	}
	return map[string][]byte{
		"nothing": {}, "a byte": {'x'}, "zeros": make([]byte, 500_000), "noise": noise, "skewed": skewed, "near": near,
		"text": []byte(strings.Repeat("the same words again and again, ", 20_000)), "both": append(bytes.Clone(noise[:200_000]), noise[100_000:]...),
		"far": append(append(bytes.Clone(noise[:40_000]), noise[40_000-32768:60_000]...), noise...),
	}
}

func packed(t testing.TB, b []byte, level int) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, level)
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

var levels = []int{flate.NoCompression, flate.HuffmanOnly, flate.BestSpeed, 6, flate.BestCompression}

// TestInflate unpacks what compress/flate packs, through buffers of several sizes, and
// stops where the stream does.
func TestInflate(t *testing.T) {
	t.Parallel()
	for name, want := range samples() {
		for _, level := range levels {
			p := append(packed(t, want, level), "what follows"...)
			for _, r := range []*bufio.Reader{bufio.NewReader(bytes.NewReader(p)), bufio.NewReaderSize(iotest.HalfReader(bytes.NewReader(p)), 16), bufio.NewReaderSize(bytes.NewReader(p), 1<<20)} {
				got, err := io.ReadAll(NewReader(r))
				if err != nil || !bytes.Equal(got, want) {
					t.Fatalf("%s, level %d: %d bytes of %d differ (%v)", name, level, len(got), len(want), err)
				}
				if rest, err := io.ReadAll(r); err != nil || string(rest) != "what follows" {
					t.Fatalf("%s, level %d: it is followed by %d bytes, %v", name, level, len(rest), err)
				}
			}
		}
	}
}

// TestCut cuts streams at every place: that is never taken for their end.
func TestCut(t *testing.T) {
	t.Parallel()
	for _, level := range levels {
		want := samples()["skewed"][:3000]
		p := packed(t, want, level)
		for n := range len(p) {
			got, err := io.ReadAll(NewReader(bufio.NewReader(bytes.NewReader(p[:n]))))
			if !errors.Is(err, io.ErrUnexpectedEOF) || !bytes.HasPrefix(want, got) {
				t.Fatalf("level %d, cut to %d of %d: %d bytes, %v", level, n, len(p), len(got), err)
			}
		}
	}
}

// TestZlib unpacks one stream after the other with one reader, and finds what is cut or
// changed in one.
func TestZlib(t *testing.T) {
	t.Parallel()
	var z *Zlib
	unpack := func(b []byte) (got, rest []byte, err error) {
		src := bufio.NewReader(bytes.NewReader(b))
		if z == nil {
			z, err = NewZlib(src)
		} else {
			err = z.Reset(src)
		}
		if err == nil {
			got, err = io.ReadAll(z)
		}
		rest, _ = io.ReadAll(src) // it is in memory
		return got, rest, err
	}
	for name, want := range samples() {
		var b bytes.Buffer
		w := zlib.NewWriter(&b)
		if _, err := w.Write(want); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		got, rest, err := unpack(append(bytes.Clone(b.Bytes()), "what follows"...))
		if err != nil || !bytes.Equal(got, want) || string(rest) != "what follows" {
			t.Errorf("%s: %d bytes of %d, then %q, %v", name, len(got), len(want), rest, err)
		}
		for _, n := range []int{0, 1, 2, b.Len() / 2, b.Len() - 4, b.Len() - 1} {
			if _, _, err := unpack(b.Bytes()[:n]); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s, cut to %d of %d: %v", name, n, b.Len(), err)
			}
		}
		for _, n := range []int{0, 1, b.Len() - 1} {
			bad := bytes.Clone(b.Bytes())
			bad[n] ^= 1
			if _, _, err := unpack(bad); !errors.Is(err, ErrDamaged) {
				t.Errorf("%s, byte %d changed: %v", name, n, err)
			}
		}
	}
}

func TestGzip(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Name, w.Comment, w.Extra = "a name", "a comment", []byte("more")
	if _, err := w.Write(samples()["text"]); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	open := func(b []byte) ([]byte, []byte, error) {
		r := bufio.NewReader(bytes.NewReader(b))
		z, err := NewGzip(r)
		if err != nil {
			return nil, nil, err
		}
		got, err := io.ReadAll(z)
		rest, _ := io.ReadAll(r) // it is in memory
		return got, rest, err
	}
	good := append(bytes.Clone(b.Bytes()), "what follows"...)
	if got, rest, err := open(good); err != nil || !bytes.Equal(got, samples()["text"]) || string(rest) != "what follows" {
		t.Errorf("%d bytes, then %q, %v", len(got), rest, err)
	}
	for n := range b.Len() {
		if _, _, err := open(b.Bytes()[:n]); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut to %d of %d: %v", n, b.Len(), err)
		}
	}
	for _, at := range []int{0, 2, b.Len() - 8, b.Len() - 1} {
		bad := bytes.Clone(b.Bytes())
		bad[at] ^= 1
		if _, _, err := open(bad); !errors.Is(err, ErrDamaged) {
			t.Errorf("a bit at %d: %v", at, err)
		}
	}
}

// same holds what comes out of a stream against compress/flate.
func same(t *testing.T, p []byte) {
	t.Helper()
	const most = 256 << 10 // of a bomb
	want, wantErr := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(p)), most))
	got, err := io.ReadAll(io.LimitReader(NewReader(bufio.NewReaderSize(bytes.NewReader(p), 64)), most))
	if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(got, want) {
		t.Fatalf("%d bytes and %v, compress/flate gives %d and %v: %x", len(got), err, len(want), wantErr, p[:min(len(p), 64)])
	}
}

// FuzzInflate holds whatever a fuzzer makes against compress/flate.
func FuzzInflate(f *testing.F) {
	for _, b := range samples() {
		for _, level := range levels {
			f.Add(packed(f, b[:min(len(b), 2000)], level))
		}
	}
	f.Add([]byte("\x05\xe0\x81\x91\x24\xcb\xb2\x2c\x49\xe2\x0f\x2e\x8b\x9a\x47\x56\x9f\xfb\xfe\xec\xd2\xff\x1f"))
	f.Fuzz(func(t *testing.T, p []byte) { same(t, p) })
}

// FuzzGzip wants no panic from any header.
func FuzzGzip(f *testing.F) {
	f.Add([]byte("\x1f\x8b\x08\x1e\x00\x00\x00\x00\x00\x00\x02\x00xxname\x00comment\x00ss\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(_ *testing.T, p []byte) {
		if z, err := NewGzip(bufio.NewReader(bytes.NewReader(p))); err == nil {
			_, _ = io.Copy(io.Discard, io.LimitReader(z, 1<<20))
		}
	})
}

// FuzzZlib holds any stream against compress/zlib, with a reader that has read another.
func FuzzZlib(f *testing.F) {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	_, _ = w.Write(samples()["text"][:2000]) // it is in memory
	_ = w.Close()
	used := b.Bytes()
	f.Add(used)
	f.Add([]byte("\x78\x9c\x03\x00\x00\x00\x00\x01"))
	f.Add([]byte("\x78\xbb\x00\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, p []byte) {
		z, err := NewZlib(bufio.NewReader(bytes.NewReader(used)))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadFull(z, make([]byte, 100)) // in the midst of it
		var got, want []byte
		if err = z.Reset(bufio.NewReader(bytes.NewReader(p))); err == nil {
			got, err = io.ReadAll(io.LimitReader(z, 1<<20))
		}
		theirs, wrong := zlib.NewReader(bytes.NewReader(p))
		if wrong == nil {
			want, wrong = io.ReadAll(io.LimitReader(theirs, 1<<20))
		}
		if (err == nil) != (wrong == nil) || err == nil && !bytes.Equal(got, want) {
			t.Fatalf("%d bytes, %v; compress/zlib gives %d, %v", len(got), err, len(want), wrong)
		}
	})
}

// TestFlipped flips bits of streams, and holds what comes out against compress/flate.
func TestFlipped(t *testing.T) {
	t.Parallel()
	for _, level := range levels {
		p := packed(t, samples()["skewed"][:20_000], level)
		for at := 0; at < len(p)*8; at += max(1, len(p)*8/200) {
			p[at/8] ^= 1 << (at % 8)
			same(t, p)
			p[at/8] ^= 1 << (at % 8)
		}
	}
}

func BenchmarkInflate(b *testing.B) {
	want := samples()["both"]
	want = append(bytes.Repeat(samples()["skewed"], 4), want...)
	p := packed(b, want, 6)
	b.SetBytes(int64(len(want)))
	for b.Loop() {
		if _, err := io.Copy(io.Discard, NewReader(bufio.NewReader(bytes.NewReader(p)))); err != nil {
			b.Fatal(err)
		}
	}
}
