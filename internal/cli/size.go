package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/droveway/droveway"
)

const mebi = 1 << 20

// units are the binary units that a size may have. A bare number is in MiB.
var units = []struct {
	suffix string
	bytes  int64
}{
	{"T", 1 << 40},
	{"G", 1 << 30},
	{"M", mebi},
	{"K", 1 << 10},
	{"B", 1},
}

// parseSize reads a size such as 512M, 2G, 1.5GiB, 100B or 300 (MiB), and
// gives bytes. All units are powers of 1024.
func parseSize(s string) (int64, error) {
	number, unit := splitUnit(s)
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || math.IsNaN(n) || n < 0 || strings.ContainsAny(number, "xXpPeE_+") {
		return 0, droveway.Errorf(droveway.Invalid, "size %q: write a number with K, M, G or T, as 512M", s)
	}
	if n*float64(unit) >= math.MaxInt64 {
		return 0, droveway.Errorf(droveway.Invalid, "size %q is too large", s)
	}
	return int64(n * float64(unit)), nil
}

func splitUnit(s string) (number string, unit int64) {
	upper := strings.ToUpper(s)
	for _, u := range units {
		for _, suffix := range []string{u.suffix + "IB", u.suffix} {
			if rest, ok := strings.CutSuffix(upper, suffix); ok {
				return rest, u.bytes
			}
		}
	}
	return upper, mebi
}

// parseMiB reads a size that must be a whole number of MiB.
func parseMiB(s string) (int64, error) {
	n, err := parseSize(s)
	if err != nil {
		return 0, err
	}
	if n%mebi != 0 {
		return 0, droveway.Errorf(droveway.Invalid, "size %q is not a whole number of MiB", s)
	}
	return n / mebi, nil
}

// sizeValue is a flag in MiB.
type sizeValue struct{ mib *int64 }

func (v sizeValue) String() string {
	if v.mib == nil || *v.mib == 0 {
		return ""
	}
	return strconv.FormatInt(*v.mib, 10) + "M"
}

func (v sizeValue) Type() string { return "size" }

func (v sizeValue) Set(s string) error {
	n, err := parseMiB(s)
	*v.mib = n
	return err
}

// byteValue is a flag in bytes.
type byteValue struct{ bytes *int64 }

func (v byteValue) String() string { return "" }

func (v byteValue) Type() string { return "size" }

func (v byteValue) Set(s string) (err error) {
	*v.bytes, err = parseSize(s)
	return err
}

// rateValue is a flag in bytes a second.
type rateValue struct{ rate *int64 }

func (v rateValue) String() string { return "" }

func (v rateValue) Type() string { return "rate" }

func (v rateValue) Set(s string) (err error) {
	*v.rate, err = parseRate(s)
	return err
}

// parseRate reads a rate such as 50M or 50M/s, and gives bytes a second.
func parseRate(s string) (int64, error) {
	n, err := parseSize(strings.TrimSuffix(s, "/s"))
	if err != nil {
		return 0, droveway.Errorf(droveway.Invalid, "rate %q: write a number with K, M or G, as 50M, for so much a second", s)
	}
	return n, nil
}

// bytesText prints a size with three digits or so.
func bytesText(n int64) string {
	for _, u := range units {
		if n >= u.bytes && u.bytes > 1 {
			x := float64(n) / float64(u.bytes)
			if x >= 999.5 { // which %g writes as 1e+03
				return fmt.Sprintf("%.0f %siB", x, u.suffix)
			}
			return fmt.Sprintf("%.3g %siB", x, u.suffix)
		}
	}
	return fmt.Sprintf("%d B", n)
}

func mibText(n int64) string {
	if n == 0 {
		return ""
	}
	return bytesText(n * mebi)
}
