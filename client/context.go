package client

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/droveway/droveway"
)

// Context says which server to talk to, and as whom. The server writes one as
// admin.json into its data directory.
type Context struct {
	Server string `json:"server"` // https URL
	Token  string `json:"token"`
	CA     string `json:"ca"` // PEM; empty: the authorities of the system
}

const othersMayRead = 0o077

// DefaultContextPath is where the command line looks for a context file.
func DefaultContextPath() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", droveway.Errorf(droveway.Invalid, "find the context file: %w: name it with --context", err)
	}
	return filepath.Join(dir, "droveway", "context.json"), nil
}

// LoadContext reads a context file. It refuses one that others than its owner
// may read, because the token in it is a key to the fleet.
func LoadContext(path string) (Context, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Context{}, droveway.Errorf(droveway.NotFound,
			"context file %s does not exist: name one with --context or DROVEWAY_CONTEXT (the server keeps one as admin.json in its data directory)", path)
	}
	if err != nil {
		return Context{}, droveway.Errorf(droveway.Invalid, "read the context file: %w", err)
	}
	if info.Mode().Perm()&othersMayRead != 0 {
		return Context{}, droveway.Errorf(droveway.Permission,
			"context file %s holds a token and others may read it (mode %04o): run chmod 600 %s", path, info.Mode().Perm(), path)
	}
	return readContext(path)
}

func readContext(path string) (Context, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return Context{}, droveway.Errorf(droveway.Invalid, "read the context file: %w", err)
	}
	var c Context
	if err := json.Unmarshal(raw, &c); err != nil {
		return Context{}, droveway.Errorf(droveway.Invalid, "context file %s is not JSON with server, token and ca: %w", path, err)
	}
	if c.Server == "" {
		return Context{}, droveway.Errorf(droveway.Invalid, "context file %s names no server: add \"server\": \"https://…\"", path)
	}
	return c, nil
}

// Save writes the context file so that only its owner may read it. A reader
// finds the old or the new one, never half of it.
func (c Context) Save(path string) error {
	raw, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return droveway.Errorf(droveway.Internal, "write the context file: %w", err)
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, append(raw, '\n'), 0o600); err != nil {
		return droveway.Errorf(droveway.Internal, "write the context file: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return droveway.Errorf(droveway.Internal, "write the context file: %w", err)
	}
	return nil
}
