package identify

import (
	"regexp"
	"strings"
	"testing"
)

// TestPatterns holds every pattern that needs no machine against the expression it is.
func TestPatterns(t *testing.T) {
	t.Parallel()
	c, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "^", "$", "^$", `\.`, `^\.`, `\.$`, `\\.`, `^a\\.$`, `\$`, `a\$`, `a.b`, "a|b", "a+", "^^a", "a$$", "ä$", "(", "\xff"} {
		c.pattern(text)
	}
	simple := 0
	for text, p := range c.patterns {
		if err := p.compile(); err == nil && p.re == nil {
			simple++
		}
		re, err := regexp.Compile(text)
		for _, s := range subjects(p.plain, text) {
			if want := err == nil && re.MatchString(s); p.match(s) != want {
				t.Errorf("%q matches %q: %v, want %v", text, s, !want, want)
			}
		}
	}
	if simple < len(c.patterns)/2 {
		t.Errorf("%d of %d patterns need no machine, want most", simple, len(c.patterns))
	}
}

// subjects is texts that match a pattern, or nearly do.
func subjects(plain, text string) []string {
	all := []string{"", "\n", `\`, ".", "$", "a", "b", "a.", `a\x`, text}
	for _, s := range []string{plain, strings.ReplaceAll(plain, ".", "x")} {
		all = append(all, s, "x"+s, s+"x", s+"\n", "\n"+s, "x\n"+s+"\nx", strings.ToUpper(s), s[:max(len(s)-1, 0)])
	}
	return all
}
