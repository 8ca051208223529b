package network

import (
	"bytes"
	"encoding/json"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/droveway/droveway"
	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/kdomanski/iso9660"
)

func readSeed(t *testing.T, c SeedConfig) (label string, files map[string]string) {
	t.Helper()
	var b bytes.Buffer
	if err := Seed(&b, c); err != nil {
		t.Fatal(err)
	}
	image, err := iso9660.OpenImage(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	label, err = image.Label()
	if err != nil {
		t.Fatal(err)
	}
	root, err := image.RootDir()
	if err != nil {
		t.Fatal(err)
	}
	children, err := root.GetChildren()
	if err != nil {
		t.Fatal(err)
	}
	files = map[string]string{}
	for _, f := range children {
		data, err := io.ReadAll(f.Reader())
		if err != nil {
			t.Fatal(err)
		}
		files[f.Name()] = string(data)
	}
	return label, files
}

func TestSeedHoldsWhatTheGuestNeeds(t *testing.T) {
	t.Parallel()
	label, files := readSeed(t, SeedConfig{
		Machine: "web-1", InstanceID: "i-1", SSHKeys: []string{"ssh-ed25519 AAAA me"},
		UserData: "#!/bin/sh\necho " + strings.Repeat("x", 3*isoSector) + "\n",
		NICs: []SeedNIC{{
			MAC: "52:54:00:00:00:01", Address: netip.MustParsePrefix("10.20.0.5/16"),
			Gateway: netip.MustParseAddr("10.20.0.1"), MTU: 1400,
		}},
	})
	if label != "cidata" {
		t.Errorf("label %q: cloud-init looks for cidata", label)
	}
	if want := "#!/bin/sh\necho " + strings.Repeat("x", 3*isoSector) + "\n"; files["user-data"] != want {
		t.Errorf("user-data of %d bytes: want the %d that were given", len(files["user-data"]), len(want))
	}
	var meta map[string]any
	if err := yaml.Unmarshal([]byte(files["meta-data"]), &meta); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"instance-id": "i-1", "local-hostname": "web-1", "public-keys": []any{"ssh-ed25519 AAAA me"}}
	if d := cmp.Diff(want, meta); d != "" {
		t.Error(d)
	}
	var network NetworkConfig
	if err := json.Unmarshal([]byte(files["network-config"]), &network); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(NetworkConfig{Version: 2, Ethernets: map[string]Ethernet{"net0": {
		Match:     Match{MACAddress: "52:54:00:00:00:01"},
		Addresses: []string{"10.20.0.5/16"}, Gateway4: "10.20.0.1", MTU: 1400,
	}}}, network); d != "" {
		t.Error(d)
	}
}

func TestSeedWithoutUserDataIsAnEmptyCloudConfig(t *testing.T) {
	t.Parallel()
	_, files := readSeed(t, SeedConfig{Machine: "web-1", InstanceID: "i-1"})
	if got := files["user-data"]; !strings.HasPrefix(got, "#cloud-config\n") {
		t.Errorf("user-data %q", got)
	}
}

func TestSeedKeepsHostileTextInItsPlace(t *testing.T) {
	t.Parallel()
	for _, hostile := range []string{
		"a: b, users: [root]", `x'" - y\`, "&anchor *alias", "!!python/object:os.system x", "{", "# comment", "\u2028tail", "yes", "1e3", "1:20", "",
	} {
		_, files := readSeed(t, SeedConfig{Machine: "web-1", InstanceID: hostile, SSHKeys: []string{hostile}})
		var meta map[string]any
		if err := yaml.Unmarshal([]byte(files["meta-data"]), &meta); err != nil {
			t.Errorf("%q makes meta-data unreadable: %v\n%s", hostile, err, files["meta-data"])
			continue
		}
		want := map[string]any{"instance-id": hostile, "local-hostname": "web-1", "public-keys": []any{hostile}}
		if d := cmp.Diff(want, meta); d != "" {
			t.Errorf("%q does not come back: %s", hostile, d)
		}
	}
}

// YAML 1.1, which cloud-init reads, takes digits with colons for a number.
func TestSeedQuotesEveryText(t *testing.T) {
	t.Parallel()
	_, files := readSeed(t, SeedConfig{Machine: "1", InstanceID: "1", NICs: []SeedNIC{{MAC: "52:54:00:00:00:01"}}})
	for file, text := range map[string]string{"network-config": `"52:54:00:00:00:01"`, "meta-data": `"local-hostname":"1"`} {
		if !strings.Contains(files[file], text) {
			t.Errorf("%s has not got %s: %s", file, text, files[file])
		}
	}
}

func TestSeedRefusesControlCharacters(t *testing.T) {
	t.Parallel()
	for _, c := range []SeedConfig{
		{Machine: "web-1", InstanceID: "a\nb: c"},
		{Machine: "web-1", SSHKeys: []string{"ssh-ed25519 AAAA\nusers: [root]"}},
		{Machine: "web-1", SSHKeys: []string{"ssh-ed25519 AAAA \x7f"}},
	} {
		if err := Seed(io.Discard, c); !droveway.Is(err, droveway.Invalid) {
			t.Errorf("%+v: %v: want a refusal of kind invalid", c, err)
		}
	}
}

func TestSeedRefusesHostileMachineNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "../etc", "a\nb: c", "web 1", "-x", "WEB", strings.Repeat("a", 64)} {
		err := Seed(io.Discard, SeedConfig{Machine: name})
		if !droveway.Is(err, droveway.Invalid) {
			t.Errorf("machine %q: %v: want a refusal of kind invalid", name, err)
		}
	}
}

func TestSeedIsReproducible(t *testing.T) {
	t.Parallel()
	var a, b bytes.Buffer
	c := SeedConfig{Machine: "web-1", InstanceID: "i-1"}
	if err := Seed(&a, c); err != nil {
		t.Fatal(err)
	}
	if err := Seed(&b, c); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("the same seed was written in two ways")
	}
}
