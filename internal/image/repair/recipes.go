package repair

import (
	"embed"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v2"
)

//go:embed data/*.yaml
var data embed.FS

// recipes is all data files.
type recipes struct {
	initramfses map[string]recipe
	families    map[string]family
	toolset     map[string]tool
	windows     struct {
		Drivers []Driver            `yaml:"drivers"`
		Folders map[string][]string `yaml:"folders"`
	}
}

// recipe is how one kind of initramfs is made.
type recipe struct {
	File  string   `yaml:"file"`
	Text  string   `yaml:"text"`  // is added to the file
	Match string   `yaml:"match"` // or this is replaced in it
	With  string   `yaml:"with"`
	Run   []string `yaml:"run"`

	Append bool `yaml:"append"`
}

// family is systems that are repaired alike.
type family struct {
	Distros []string            `yaml:"distros"`
	Loader  map[string][]string `yaml:"loader"`
	Disable []string            `yaml:"disable"`
}

// tool is a guest tool of some hypervisor.
type tool struct {
	Services []string `yaml:"services"`
	Windows  []string `yaml:"windows"`
	Keep     string   `yaml:"keep"` // why it stays
}

// Driver is a virtio driver of Windows.
type Driver struct {
	Name    string   `yaml:"name"`
	Start   uint32   `yaml:"start"`
	Group   string   `yaml:"group"`
	Bus     uint32   `yaml:"bus"`
	Boot    bool     `yaml:"boot"`    // Windows needs it before it sees its disk
	Devices []string `yaml:"devices"` // on the PCI bus
}

func load() (*recipes, error) {
	var r recipes
	for name, into := range map[string]any{"initramfs": &r.initramfses, "families": &r.families, "tools": &r.toolset, "windows": &r.windows} {
		b, err := data.ReadFile("data/" + name + ".yaml")
		if err != nil {
			return nil, err
		}
		if err := yaml.UnmarshalStrict(b, into); err != nil {
			return nil, fmt.Errorf("recipes %s: %w", name, err)
		}
	}
	return &r, nil
}

func (r *recipes) familyOf(distro string) string {
	for name, f := range r.families {
		if slices.Contains(f.Distros, distro) {
			return name
		}
	}
	return ""
}

// fill puts values in the place of ${name}.
func fill(command []string, values ...string) []string {
	r := strings.NewReplacer(values...)
	var filled []string
	for _, c := range command {
		filled = append(filled, r.Replace(c))
	}
	return filled
}
