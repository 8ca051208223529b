package disk

import (
	"strconv"
	"strings"
)

// The limits of LVM's text metadata: a group of a thousand volumes is far below.
const (
	maxLVMText  = 8 << 20
	maxLVMDepth = 8
	maxLVMNodes = 200_000
)

// section is a block of LVM's text format: key = value, and name { … }.
type section struct {
	values map[string][]string // a single value is a list of one
	parts  map[string]*section
	order  []string
}

func (s *section) text(key string) string {
	if v := s.values[key]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// number gives a value of at most 2^46, so that products with sectors fit.
func (s *section) number(key string) (int64, bool) {
	n, err := strconv.ParseInt(s.text(key), 10, 64)
	return n, err == nil && n >= 0 && n <= 1<<46
}

func (s *section) part(name string) *section {
	if p := s.parts[name]; p != nil {
		return p
	}
	return &section{}
}

// lvmParser reads the text token by token.
type lvmParser struct {
	text  string
	at    int
	nodes int
}

func parseLVMText(text string) (*section, error) {
	p := &lvmParser{text: text}
	s, err := p.section(0)
	if err != nil {
		return nil, invalid("LVM metadata, byte %d: %w", p.at, err)
	}
	return s, nil
}

func (p *lvmParser) section(depth int) (*section, error) {
	s := &section{values: map[string][]string{}, parts: map[string]*section{}}
	if depth > maxLVMDepth {
		return nil, invalid("too deep")
	}
	for {
		name := p.token()
		if name == "" || name == "}" && depth > 0 {
			return s, nil
		}
		if p.nodes++; p.nodes > maxLVMNodes {
			return nil, invalid("too many entries")
		}
		switch p.token() {
		case "{":
			sub, err := p.section(depth + 1)
			if err != nil {
				return nil, err
			}
			s.parts[name] = sub
			s.order = append(s.order, name)
		case "=":
			s.values[name] = p.value()
		default:
			return nil, invalid("neither = nor { after %q", name)
		}
	}
}

func (p *lvmParser) value() []string {
	t := p.token()
	if t != "[" {
		return []string{unquote(t)}
	}
	var list []string
	for {
		switch t := p.token(); t {
		case "]", "":
			return list
		case ",":
		default:
			if p.nodes++; p.nodes > maxLVMNodes {
				return list
			}
			list = append(list, unquote(t))
		}
	}
}

// unquote gives what a token says; in quotes, \" and \\ stand for " and \.
func unquote(s string) string {
	inner, quoted := strings.CutPrefix(s, `"`)
	if !quoted {
		return s
	}
	return strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(strings.TrimSuffix(inner, `"`))
}

const lvmSigns = "{}[]=,"

// token gives the next sign, word or quoted string, "" at the end.
func (p *lvmParser) token() string {
	for p.at < len(p.text) {
		switch c := p.text[p.at]; {
		case c == 0:
			p.at = len(p.text)
		case c == '#':
			p.skipTo('\n')
		case c <= ' ':
			p.at++
		case c == '"':
			start := p.at
			p.skipQuoted()
			return p.text[start:p.at]
		case strings.IndexByte(lvmSigns, c) >= 0:
			p.at++
			return p.text[p.at-1 : p.at]
		default:
			start := p.at
			for p.at < len(p.text) && p.text[p.at] > ' ' && strings.IndexByte(lvmSigns+`"#`, p.text[p.at]) < 0 {
				p.at++
			}
			return p.text[start:p.at]
		}
	}
	return ""
}

// skipQuoted goes behind the quoted string that begins here.
func (p *lvmParser) skipQuoted() {
	for p.at++; p.at < len(p.text); p.at++ {
		switch p.text[p.at] {
		case '\\':
			p.at++
		case '"':
			p.at++
			return
		}
	}
	p.at = len(p.text)
}

func (p *lvmParser) skipTo(c byte) {
	for p.at < len(p.text) && p.text[p.at] != c {
		p.at++
	}
}
