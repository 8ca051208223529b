package verdict

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/droveway/droveway"
)

func TestBar(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		got  float64
		side Side
		met  bool
	}{
		{2, AtMost, true},
		{2.1, AtMost, false},
		{2, AtLeast, true},
		{1.9, AtLeast, false},
		{1.9, Below, true},
		{2, Below, false},
	} {
		b := NewBar("x", tt.got, tt.side, 2, "s")
		if b.Met != tt.met {
			t.Errorf("%v %s 2: met %v", tt.got, tt.side, b.Met)
		}
		if b.If(false).Met || b.If(true).Met != tt.met {
			t.Errorf("%+v: what else has to hold does not count", b)
		}
	}
}

func TestMet(t *testing.T) {
	t.Parallel()
	good, bad := NewBar("good", 1, AtMost, 1, ""), NewBar("bad", 2, AtMost, 1, "")
	if !Met([]Bar{good}) || Met([]Bar{good, bad}) || Met(nil) {
		t.Error("all bars have to be reached, and there has to be one")
	}
}

func TestAtLeastOne(t *testing.T) {
	t.Parallel()
	for n, fine := range map[int]bool{-1: false, 0: false, 1: true, 20: true} {
		if err := AtLeastOne("runs", n); (err == nil) != fine || err != nil && (!droveway.Is(err, droveway.Invalid) || !strings.Contains(err.Error(), "-runs")) {
			t.Errorf("%d: %v", n, err)
		}
	}
}

func TestCode(t *testing.T) {
	t.Parallel()
	if got := []int{code(true, nil), code(false, nil), code(true, errors.New("x")), code(false, errors.New("x"))}; fmt.Sprint(got) != "[0 3 1 1]" {
		t.Error(got)
	}
}

func TestPrint(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	bars := []Bar{NewBar("share", 0.99987, AtLeast, 0.999, ""), NewBar("time", 101.25, Below, 100, "ms")}
	if err := Print(&b, bars, func(w io.Writer) { fmt.Fprint(w, "a\tb\n") }); err != nil {
		t.Fatal(err)
	}
	want := "a  b\n\nshare  0.99987    at least 0.999  pass\ntime   101.25 ms  below 100 ms    FAIL\n"
	if b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new")
	if err := Write(dir, "x.json", Here()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "x.json"))
	var s Setting
	if err != nil || json.Unmarshal(text, &s) != nil || s.CPUs < 1 || s.CPU == "" || s.Kernel == "" || s.Time.IsZero() {
		t.Errorf("%v: %s", err, text)
	}
	if err := Write(filepath.Join(dir, "x.json"), "y", 1); err == nil {
		t.Error("a file is a directory")
	}
	if err := Write(dir, "x.json", func() {}); err == nil {
		t.Error("a function has JSON")
	}
}

func TestSetting(t *testing.T) {
	t.Parallel()
	if got := cpuModel("processor\t: 0\nmodel name\t: A B\nmodel name\t: C\n"); got != "A B" {
		t.Error(got)
	}
	if cpuModel("") == "" || loadAverage("0.75 1 2 3/4 5") != 0.75 || loadAverage("") != 0 {
		t.Error("what the kernel tells is read wrong")
	}
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	values := make([]float64, 200)
	for i := range values {
		values[i] = float64(200 - i)
	}
	for q, want := range map[float64]float64{0.5: 101, 0.99: 199, 1: 200} {
		if got := Quantile(values, q); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if Quantile([]float64{7}, 0.99) != 7 || Quantile(nil, 0.5) != 0 || values[0] != 200 {
		t.Error("of one value, of none, or the values are sorted in place")
	}
}
