package repair

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode/utf8"

	"github.com/droveway/droveway"
)

// maxFile is the longest file that is changed, in bytes.
const maxFile = 1 << 20

// change makes a new file from an old one by fn; there is nothing to do if fn
// changes nothing. A file that is changed twice is changed on from the first time. A
// file that is not there is empty.
func (p *planner) change(path string, fn func(old string) string) []File {
	old, changed := p.text[path]
	was := ""
	if !changed {
		b, err := p.t.ReadFile(path, maxFile)
		if err != nil && !droveway.Is(err, droveway.NotFound) {
			p.find(Warning, path+" cannot be changed", err.Error(), "")
			return nil
		}
		old = string(b)
	}
	if !utf8.ValidString(old) {
		p.find(Warning, path+" cannot be changed", "it is no text in UTF-8", "look whether it names disks")
		return nil
	}
	if changed || p.t.Exists(path) {
		was = digest(old)
	}
	text := fn(old)
	if text == old {
		return nil
	}
	p.text[path] = text
	return []File{{Path: path, Was: was, Old: old, Text: text}}
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// Diff is the lines that go, with a minus, and those that come, with a plus; one
// that is neither is left out.
func (f *File) Diff() []string {
	if f.Text == "" {
		return nil
	}
	old, text := lines(f.Old), lines(f.Text)
	for len(old) > 0 && len(text) > 0 && old[0] == text[0] {
		old, text = old[1:], text[1:]
	}
	for len(old) > 0 && len(text) > 0 && old[len(old)-1] == text[len(text)-1] {
		old, text = old[:len(old)-1], text[:len(text)-1]
	}
	var diff []string
	if len(old) == len(text) { // lines were changed in place
		for i := range old {
			if old[i] != text[i] {
				diff = append(diff, "- "+old[i], "+ "+text[i])
			}
		}
		return diff
	}
	for _, l := range old {
		diff = append(diff, "- "+l)
	}
	for _, l := range text {
		diff = append(diff, "+ "+l)
	}
	return diff
}

func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}
