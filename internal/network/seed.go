package network

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"unicode"

	"github.com/droveway/droveway"
)

// SeedConfig is what a guest learns at its boot.
type SeedConfig struct {
	Machine    string   // host name of the guest
	InstanceID string   // cloud-init does its first-boot work once for each
	SSHKeys    []string // for the guest's default user
	UserData   string   // handed to the guest as it is; empty: an empty cloud-config
	NICs       []SeedNIC
}

// SeedNIC is the address of one network card, which is found by its MAC.
type SeedNIC struct {
	MAC     string
	Address netip.Prefix
	Gateway netip.Addr // zero: none
	MTU     int        // bytes; 0: the guest's own choice
}

// The files of a NoCloud seed and the label by which cloud-init finds the disk:
// https://cloudinit.readthedocs.io/en/latest/reference/datasources/nocloud.html
const (
	SeedLabel         = "cidata"
	SeedMetaData      = "meta-data"
	SeedUserData      = "user-data"
	SeedNetworkConfig = "network-config"
)

const emptyUserData = "#cloud-config\n{}\n"

// Seed writes the ISO 9660 image of a NoCloud seed.
func Seed(w io.Writer, c SeedConfig) error {
	if err := droveway.ValidName("machine", c.Machine); err != nil {
		return err
	}
	if err := c.validText(); err != nil {
		return err
	}
	// YAML takes JSON, and in JSON a text stays a text: unquoted, cloud-init's
	// parser makes a number to the base 60 of a MAC like 52:54:00:00:00:01.
	meta, err := json.Marshal(c.metaData())
	if err != nil {
		return fmt.Errorf("meta-data of machine %s: %w", c.Machine, err)
	}
	network, err := json.Marshal(c.networkConfig())
	if err != nil {
		return fmt.Errorf("network-config of machine %s: %w", c.Machine, err)
	}
	user := c.UserData
	if user == "" {
		user = emptyUserData
	}
	return writeISO(w, SeedLabel, []isoFile{
		{SeedMetaData, meta},
		{SeedNetworkConfig, network},
		{SeedUserData, []byte(user)},
	})
}

// validText refuses control characters, which YAML does not allow even quoted.
func (c SeedConfig) validText() error {
	if strings.ContainsFunc(c.InstanceID, unicode.IsControl) {
		return droveway.Errorf(droveway.Invalid, "machine %s: instance id %q has control characters", c.Machine, c.InstanceID)
	}
	for _, key := range c.SSHKeys {
		if strings.ContainsFunc(key, unicode.IsControl) {
			return droveway.Errorf(droveway.Invalid, "machine %s: SSH key %q has line breaks or control characters: give one line for each key", c.Machine, key)
		}
	}
	return nil
}

type metaData struct {
	InstanceID string   `json:"instance-id"`
	Hostname   string   `json:"local-hostname"`
	PublicKeys []string `json:"public-keys,omitempty"`
}

func (c SeedConfig) metaData() metaData {
	return metaData{InstanceID: c.InstanceID, Hostname: c.Machine, PublicKeys: c.SSHKeys}
}

// NetworkConfig is cloud-init's network configuration, version 2.
type NetworkConfig struct {
	Version   int                 `json:"version"`
	Ethernets map[string]Ethernet `json:"ethernets"`
}

// Ethernet is one network card in a NetworkConfig.
type Ethernet struct {
	Match     Match    `json:"match"`
	Addresses []string `json:"addresses"`
	Gateway4  string   `json:"gateway4,omitempty"`
	MTU       int      `json:"mtu,omitempty"`
}

// Match says which card an Ethernet is about.
type Match struct {
	MACAddress string `json:"macaddress"`
}

func (c SeedConfig) networkConfig() NetworkConfig {
	config := NetworkConfig{Version: 2, Ethernets: map[string]Ethernet{}}
	for i, nic := range c.NICs {
		e := Ethernet{
			Match:     Match{MACAddress: nic.MAC},
			Addresses: []string{nic.Address.String()},
			MTU:       nic.MTU,
		}
		if nic.Gateway.IsValid() {
			e.Gateway4 = nic.Gateway.String()
		}
		config.Ethernets[fmt.Sprintf("net%d", i)] = e
	}
	return config
}
