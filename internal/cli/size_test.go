package cli

import (
	"testing"

	"github.com/droveway/droveway"
)

func TestParseSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"1": 1 << 20, "512M": 512 << 20, "512m": 512 << 20, "512MiB": 512 << 20, "2G": 2 << 30, "1.5G": 3 << 29,
		"1T": 1 << 40, "4K": 4096, "100B": 100, "0": 0, "0.5K": 512,
	} {
		got, err := parseSize(text)
		if err != nil || got != want {
			t.Errorf("%q is %d (%v), want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "M", "-1", "+1", "1X", "1e9", "0x10", "inf", "nan", "9999999T", "1 M", "1,5G"} {
		if got, err := parseSize(text); !droveway.Is(err, droveway.Invalid) {
			t.Errorf("%q is %d, %v", text, got, err)
		}
	}
	if _, err := parseMiB("100B"); !droveway.Is(err, droveway.Invalid) {
		t.Errorf("100B is no whole MiB, but %v", err)
	}
}

func TestBytesText(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 739 << 20: "739 MiB", 1000 << 20: "1000 MiB", 1023 << 20: "1023 MiB", 1 << 40: "1 TiB"} {
		if got := bytesText(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}

func TestBits(t *testing.T) {
	t.Parallel()
	var n int64
	v := bitsValue{&n}
	for text, want := range map[string]int64{"1Gbit": 1e9, "100mbit/s": 1e8, "64Kbit": 64000} {
		if err := v.Set(text); err != nil || n != want {
			t.Errorf("%q is %d (%v), want %d", text, n, err, want)
		}
	}
	for _, text := range []string{"", "1G", "gbit", "-1gbit", "0mbit"} {
		if err := v.Set(text); !droveway.Is(err, droveway.Invalid) {
			t.Errorf("%q was taken: %v", text, err)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"512M", "1.5GiB", "", "9e99T", "-1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := parseSize(s); err == nil && n < 0 {
			t.Errorf("%q is %d", s, n)
		}
	})
}
