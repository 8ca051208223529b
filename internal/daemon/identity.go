package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/engine/bus"
	"github.com/droveway/droveway/internal/engine/pki"
)

// The identity of a host: a directory that is there whole or not at all.
const (
	identityDir  = "identity"
	identityFile = "identity.json"
	tlsDir       = "tls" // certificates as the hypervisor wants them
)

// identity is what a host or a probe got when it joined.
type identity struct {
	Bus     bus.Credentials `json:"bus"`
	API     client.Context  `json:"api"`
	Address netip.Addr      `json:"address"`
}

// identify gives the identity of a host: the one it has, or a new one.
func identify(ctx context.Context, cfg HostConfig) (identity, error) {
	var id identity
	path := filepath.Join(cfg.Data, identityDir, identityFile)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return join(ctx, cfg)
	}
	if err != nil {
		return id, droveway.Errorf(droveway.Invalid, "read the identity of this host: %w", err)
	}
	if err := json.Unmarshal(raw, &id); err != nil {
		return id, droveway.Errorf(droveway.Invalid, "the identity of this host in %s is damaged: %w: restore it, or remove the host and join again", path, err)
	}
	if cfg.Name != "" && cfg.Name != id.Bus.Name {
		return id, droveway.Errorf(droveway.Conflict, "this host has joined as %s, not as %s: leave --name out, or use another --data", id.Bus.Name, cfg.Name)
	}
	if cfg.Server != "" {
		id.API.Server = cfg.Server
	}
	if cfg.Address.IsValid() {
		id.Address = cfg.Address
	}
	return id, nil
}

// join asks the server for an identity and keeps it.
func join(ctx context.Context, cfg HostConfig) (identity, error) {
	id, err := newIdentity(cfg)
	if err != nil {
		return id, err
	}
	pair, err := nkeys.CreateUser()
	if err != nil {
		return id, droveway.Errorf(droveway.Internal, "make the key for the bus: %w", err)
	}
	seed, err := pair.Seed()
	if err != nil {
		return id, droveway.Errorf(droveway.Internal, "make the key for the bus: %w", err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		return id, droveway.Errorf(droveway.Internal, "make the key for the bus: %w", err)
	}
	csr, key, err := pki.NewRequest(id.Bus.Name)
	if err != nil {
		return id, err
	}
	got, err := ask(ctx, cfg, id.API, client.JoinRequest{
		Token: cfg.Token, Name: id.Bus.Name, Address: id.Address.String(), NKey: public, CSR: string(csr),
		Role: cfg.role, Site: cfg.site,
	})
	if err != nil {
		return id, droveway.Errorf(droveway.KindOf(err), "join the fleet as %s: %w", id.Bus.Name, err)
	}
	id.Bus.URL, id.Bus.JWT, id.Bus.Seed, id.Bus.CA = got.BusURL, got.JWT, string(seed), []byte(got.CA)
	id.API.Token, id.API.CA = got.APIToken, got.CA
	cfg.Log.Info("joined the fleet", "host", id.Bus.Name, "server", cfg.Server)
	if got.Cert == "" {
		return id, keep(cfg.Data, id, nil)
	}
	return id, keep(cfg.Data, id, tlsFiles(got, key))
}

// newIdentity fills in what the operator left out.
func newIdentity(cfg HostConfig) (identity, error) {
	id := identity{Bus: bus.Credentials{Name: cfg.Name, Role: cfg.role}, API: client.Context{Server: cfg.Server}, Address: cfg.Address}
	if cfg.Token == "" || cfg.CA == "" || cfg.Server == "" {
		return id, droveway.Errorf(droveway.Invalid, "this host has not joined a fleet: give --server, --ca and --token (from droveway token create)")
	}
	ca, err := os.ReadFile(cfg.CA)
	if err != nil {
		return id, droveway.Errorf(droveway.Invalid, "read the server's CA: %w: give its file with --ca", err)
	}
	id.API.CA = string(ca)
	if id.Bus.Name == "" {
		id.Bus.Name = ownName()
	}
	if id.Address.IsValid() {
		return id, nil
	}
	u, err := url.Parse(cfg.Server)
	if err != nil || u.Port() == "" {
		return id, droveway.Errorf(droveway.Invalid, "server %q: give an https URL with a port, as https://server:7443", cfg.Server)
	}
	id.Address, err = ownAddress(u.Host)
	return id, err
}

// askAgain is how often a server that does not answer yet is asked to join.
const askAgain = time.Second

// ask joins; while the server does not answer it tries on.
func ask(ctx context.Context, cfg HostConfig, c client.Context, r client.JoinRequest) (client.Joined, error) {
	api, err := client.New(c)
	if err != nil {
		return client.Joined{}, err
	}
	defer api.Close()
	for told := false; ; told = true {
		got, err := api.Join(ctx, r)
		if !droveway.Is(err, droveway.Unavailable) {
			return got, err
		}
		if !told {
			cfg.Log.Warn("the server does not answer; trying on", "server", cfg.Server, "error", err)
		}
		select {
		case <-ctx.Done():
			return got, err
		case <-time.After(askAgain):
		}
	}
}

// tlsFiles is the certificates under the names that QEMU looks for (see
// qemu(1), object tls-creds-x509). A host is server and client alike.
func tlsFiles(got client.Joined, key []byte) map[string][]byte {
	return map[string][]byte{
		"ca-cert.pem":     []byte(got.CA),
		"server-cert.pem": []byte(got.Cert),
		"server-key.pem":  key,
		"client-cert.pem": []byte(got.Cert),
		"client-key.pem":  key,
	}
}

// keep writes an identity beside its place and moves it there.
func keep(dir string, id identity, certs map[string][]byte) error {
	tmp := filepath.Join(dir, identityDir+".new")
	err := os.RemoveAll(tmp)
	if err == nil {
		err = os.MkdirAll(filepath.Join(tmp, tlsDir), 0o700)
	}
	for name, pem := range certs {
		if err == nil {
			err = os.WriteFile(filepath.Join(tmp, tlsDir, name), pem, 0o600)
		}
	}
	raw, jsonErr := json.MarshalIndent(id, "", "  ")
	err = errors.Join(err, jsonErr)
	if err == nil {
		err = os.WriteFile(filepath.Join(tmp, identityFile), raw, 0o600)
	}
	if err == nil {
		err = os.Rename(tmp, filepath.Join(dir, identityDir))
	}
	if err != nil {
		return droveway.Errorf(droveway.Internal, "keep the identity of this host: %w", err)
	}
	return nil
}
