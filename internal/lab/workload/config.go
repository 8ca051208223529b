// Package workload is what a guest of the lab does: it writes records and
// reports them once they are durable, answers the client's echo, and if it is
// asked to, rewrites and checks memory. It runs inside guests; the region that
// it writes to is the only thing on their disk that it touches.
package workload

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Config is what the guest is told, by a line of its seed's user-data.
type Config struct {
	Observer string `json:"observer"`            // host:port of the observer; empty: no reports
	DelayMS  int    `json:"delay_ms,omitempty"`  // between two records
	DirtyMiB int    `json:"dirty_mib,omitempty"` // of memory to rewrite and check all the time
	Path     string `json:"path,omitempty"`      // of the records; empty: as the image has them
}

// The line is a comment of a cloud-config, so the rest is left to cloud-init.
const configMark = "# droveway-guest: "

// UserData makes the user-data that tells a guest its Config.
func (c Config) UserData() (string, error) {
	b, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("config of the guest: %w", err)
	}
	return "#cloud-config\n" + configMark + string(b) + "\n{}\n", nil
}

// ParseUserData finds the Config in user-data; the zero Config if there is none.
func ParseUserData(b []byte) (Config, error) {
	for line := range bytes.Lines(b) {
		text, ok := bytes.CutPrefix(line, []byte(configMark))
		if !ok {
			continue
		}
		var c Config
		if err := json.Unmarshal(text, &c); err != nil {
			return Config{}, fmt.Errorf("user-data: line %q: %w", line, err)
		}
		return c, nil
	}
	return Config{}, nil
}
