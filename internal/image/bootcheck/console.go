package bootcheck

import (
	"bytes"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
)

const (
	chunk   = 32 << 10 // bytes of the console that are looked at in one go
	window  = 2 * chunk
	maxRead = 32 << 20 // a console that says more has lost its mind

	tailLines = 40
	tailBytes = 4 << 10
)

// console follows the log of a serial console.
type console struct {
	path  string
	signs []sign
	at    int64
	raw   []byte // the last of what was read
}

// look reads on, and gives the first sign of what is new. more says that there was
// something.
func (c *console) look() (found *sign, more bool, err error) {
	f, err := os.Open(c.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	for c.at <= maxRead {
		b := make([]byte, chunk)
		n, err := f.ReadAt(b, c.at)
		if n > 0 {
			more = true
			if found := c.take(b[:n]); found != nil {
				return found, true, nil
			}
		}
		if err == io.EOF || err == nil && n == 0 {
			return nil, more, nil
		}
		if err != nil {
			return nil, more, err
		}
	}
	return nil, more, nil
}

// take adds what was read. The window overlaps, so that no sign is cut in two.
func (c *console) take(b []byte) *sign {
	c.at += int64(len(b))
	c.raw = append(c.raw, b...)
	if over := len(c.raw) - window; over > 0 {
		c.raw = append([]byte(nil), c.raw[over:]...)
	}
	return first(c.signs, plain(c.raw))
}

// silent reports whether nobody but the firmware has said anything.
func (c *console) silent() bool { return firmwareOnly(plain(c.raw)) && c.at < window }

// firmwareSays is how lines begin that SeaBIOS and OVMF write themselves.
var firmwareSays = []string{"SeaBIOS", "Machine UUID", "iPXE", "Booting from", "BdsDxe:"}

func firmwareOnly(text []byte) bool {
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		known := line == ""
		for _, s := range firmwareSays {
			known = known || strings.HasPrefix(line, s)
		}
		if !known {
			return false
		}
	}
	return true
}

// Sequences of ECMA-48: those that go to another place stand for a new line, the
// rest for nothing.
var (
	place   = regexp.MustCompile(`\x1b\[[0-9;]*[Hf]`)
	control = regexp.MustCompile(`\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[()*+#%][ -~]|\x1b[ -/]*[0-~]`)
)

// plain is the text that was written to a terminal: lines without colours, without
// control characters, and valid as UTF-8.
func plain(raw []byte) []byte {
	b := place.ReplaceAll(raw, []byte("\n"))
	b = control.ReplaceAll(b, nil)
	b = bytes.ToValidUTF8(b, []byte("?"))
	return bytes.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, b)
}

// tail is the last of the console, for people.
func (c *console) tail() string {
	var lines []string
	for line := range strings.Lines(string(plain(c.raw))) {
		if line = strings.TrimRight(line, " \t\n"); line != "" {
			lines = append(lines, line)
		}
	}
	text := strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
	return strings.ToValidUTF8(text[max(0, len(text)-tailBytes):], "")
}
