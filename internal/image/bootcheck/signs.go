package bootcheck

import (
	"embed"
	"regexp"

	"github.com/goccy/go-yaml"

	"github.com/droveway/droveway"
)

//go:embed signs.yaml
var signData embed.FS

// sign is something on a console that tells how a boot ends.
type sign struct {
	Name    string           `yaml:"name"`
	Verdict droveway.Verdict `yaml:"verdict"`
	Pattern string           `yaml:"pattern"`
	Says    string           `yaml:"says"`
	Advice  string           `yaml:"advice"`

	re *regexp.Regexp
}

// knownSigns are those of signs.yaml.
func knownSigns() ([]sign, error) {
	b, err := signData.ReadFile("signs.yaml")
	if err != nil {
		return nil, droveway.Errorf(droveway.Internal, "read the signs of a boot: %w", err)
	}
	return loadSigns(b)
}

func loadSigns(data []byte) ([]sign, error) {
	var all []sign
	if err := yaml.Unmarshal(data, &all); err != nil {
		return nil, droveway.Errorf(droveway.Internal, "read the signs of a boot: %w", err)
	}
	for i := range all {
		s := &all[i]
		if s.Name == "" || s.Says == "" || s.Verdict != droveway.BootOK && s.Verdict != droveway.BootFailed {
			return nil, droveway.Errorf(droveway.Internal, "sign %q of a boot: it needs a name, a verdict (ok or failed) and what it says", s.Name)
		}
		var err error
		if s.re, err = regexp.Compile(s.Pattern); err != nil {
			return nil, droveway.Errorf(droveway.Internal, "sign %s of a boot: %w", s.Name, err)
		}
	}
	return all, nil
}

// first is the sign that comes first in the text, nil if there is none.
func first(signs []sign, text []byte) *sign {
	var found *sign
	at := len(text)
	for i := range signs {
		if m := signs[i].re.FindIndex(text); m != nil && (found == nil || m[0] < at) {
			found, at = &signs[i], m[0]
		}
	}
	return found
}
