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

// joining is how a member joins the fleet.
type joining struct {
	Member
	role, site string     // of a probe
	address    netip.Addr // of a host; zero: the one that reaches the server
}

// identify gives the identity of a member: the one it has, or a new one.
func identify(ctx context.Context, j joining) (identity, error) {
	var id identity
	path := filepath.Join(j.Data, identityDir, identityFile)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return join(ctx, j)
	}
	if err != nil {
		return id, droveway.Errorf(droveway.Invalid, "read the identity of this host: %w", err)
	}
	if err := json.Unmarshal(raw, &id); err != nil {
		return id, droveway.Errorf(droveway.Invalid, "the identity of this host in %s is damaged: %w: restore it, or remove the host and join again", path, err)
	}
	if j.Name != "" && j.Name != id.Bus.Name {
		return id, droveway.Errorf(droveway.Conflict, "this host has joined as %s, not as %s: leave --name out, or use another --data", id.Bus.Name, j.Name)
	}
	if j.Server != "" {
		id.API.Server = j.Server
	}
	if j.address.IsValid() {
		id.Address = j.address
	}
	return id, nil
}

// join asks the server for an identity and keeps it.
func join(ctx context.Context, j joining) (identity, error) {
	id, err := newIdentity(j)
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
	got, err := ask(ctx, j, id.API, client.JoinRequest{
		Token: j.Token, Name: id.Bus.Name, Address: id.Address.String(), NKey: public, CSR: string(csr),
		Role: j.role, Site: j.site,
	})
	if err != nil {
		return id, droveway.Errorf(droveway.KindOf(err), "join the fleet as %s: %w", id.Bus.Name, err)
	}
	id.Bus.URL, id.Bus.JWT, id.Bus.Seed, id.Bus.CA = got.BusURL, got.JWT, string(seed), []byte(got.CA)
	id.API.Token, id.API.CA = got.APIToken, got.CA
	j.Log.Info("joined the fleet", "host", id.Bus.Name, "server", j.Server)
	if got.Cert == "" {
		return id, keep(j.Data, id, nil)
	}
	return id, keep(j.Data, id, tlsFiles(got, key))
}

// newIdentity fills in what the operator left out.
func newIdentity(j joining) (identity, error) {
	id := identity{Bus: bus.Credentials{Name: j.Name, Role: j.role}, API: client.Context{Server: j.Server}, Address: j.address}
	if j.Token == "" || j.CA == "" || j.Server == "" {
		return id, droveway.Errorf(droveway.Invalid, "this host has not joined a fleet: give --server, --ca and --token (from droveway token create)")
	}
	ca, err := os.ReadFile(j.CA)
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
	u, err := url.Parse(j.Server)
	if err != nil || u.Port() == "" {
		return id, droveway.Errorf(droveway.Invalid, "server %q: give an https URL with a port, as https://server:7443", j.Server)
	}
	id.Address, err = ownAddress(u.Host)
	return id, err
}

// askAgain is how often a server that does not answer yet is asked to join.
const askAgain = time.Second

// ask joins; while the server does not answer it tries on.
func ask(ctx context.Context, j joining, c client.Context, r client.JoinRequest) (client.Joined, error) {
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
			j.Log.Warn("the server does not answer; trying on", "server", j.Server, "error", err)
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
