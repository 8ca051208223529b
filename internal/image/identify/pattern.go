package identify

import (
	"regexp"
	"strings"
	"sync"
)

// pattern is an expression. Most are a text with its beginning or end pinned, which
// needs no machine; the others are compiled when they are needed: there are thousands,
// and one disk meets few of them.
type pattern struct {
	text string
	once sync.Once
	re   *regexp.Regexp // nil: plain says it all
	err  error

	plain      string
	start, end bool // the text must begin, end with plain
}

func (p *pattern) compile() error {
	p.once.Do(func() {
		if !p.simple() {
			p.re, p.err = regexp.Compile(p.text)
		}
	})
	return p.err
}

// match reports whether s matches; a pattern that is none matches nothing.
func (p *pattern) match(s string) bool {
	switch {
	case p.compile() != nil:
		return false
	case p.re != nil:
		return p.re.MatchString(s)
	case p.start && p.end:
		return s == p.plain
	case p.start:
		return strings.HasPrefix(s, p.plain)
	case p.end:
		return strings.HasSuffix(s, p.plain)
	}
	return strings.Contains(s, p.plain)
}

// simple takes a pattern apart in which nothing but quoted dots is special, between ^
// and $ or without them. It is false if there is more to it.
func (p *pattern) simple() bool {
	rest, start := strings.CutPrefix(p.text, "^")
	rest, end := strings.CutSuffix(rest, "$")
	plain := strings.ReplaceAll(rest, `\.`, "")
	if plain != regexp.QuoteMeta(plain) || !ascii(plain) {
		return false
	}
	p.plain, p.start, p.end = strings.ReplaceAll(rest, `\.`, "."), start, end
	return true
}

// ascii tells whether all is ASCII: what is not may be no UTF-8, and an expression then
// is none.
func ascii(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) < 0
}
