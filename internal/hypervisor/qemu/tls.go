package qemu

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// endpoint is a side of a TLS connection, as QEMU names it.
type endpoint string

const (
	server endpoint = "server"
	client endpoint = "client"
)

// dhParams has the group ffdhe2048 of RFC 7919. Without the file QEMU looks for a
// group of its own at each start of a server, which takes up to two seconds.
//
//go:embed ffdhe2048.pem
var dhParams embed.FS

// files are what QEMU reads of a TLS directory for a side.
func (e endpoint) files() []string {
	return []string{"ca-cert.pem", string(e) + "-cert.pem", string(e) + "-key.pem"}
}

// credentials are the certificate of one side, as an object of QEMU. The id says
// what the certificate is: a renewed one makes another object.
//
// QEMU reads the files once, so a copy of them that its user may read is there
// until forget.
type credentials struct {
	id   string
	copy string // directory
	side endpoint
}

// readCredentials gives nil without TLS.
func readCredentials(tls *hypervisor.TLS, e endpoint, dir string, user *account) (*credentials, error) {
	if tls == nil {
		return nil, nil
	}
	sum := sha256.New()
	c := &credentials{copy: filepath.Join(dir, "tls-"+string(e)), side: e}
	if err := copyCredentials(tls.Dir, c.copy, e, user, sum); err != nil {
		c.forget()
		return nil, err
	}
	c.id = "tls-" + string(e) + "-" + hex.EncodeToString(sum.Sum(nil)[:6])
	return c, nil
}

func (c *credentials) object() object {
	return object{"qom-type": "tls-creds-x509", "id": c.id, "endpoint": c.side, "verify-peer": true, "dir": c.copy}
}

func (c *credentials) forget() { _ = os.RemoveAll(c.copy) }

func copyCredentials(from, to string, e endpoint, user *account, sum io.Writer) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return droveway.Errorf(droveway.Internal, "TLS credentials: %w", err)
	}
	own := []string{to}
	for _, name := range e.files() {
		b, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return droveway.Errorf(droveway.NotFound, "TLS credentials: %w", err)
		}
		_, _ = sum.Write(b) // a hash takes everything
		path := filepath.Join(to, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			return droveway.Errorf(droveway.Internal, "TLS credentials: %w", err)
		}
		own = append(own, path)
	}
	if e == server {
		path := filepath.Join(to, "dh-params.pem")
		group, err := dhParams.ReadFile("ffdhe2048.pem")
		if err == nil {
			err = os.WriteFile(path, group, 0o600)
		}
		if err != nil {
			return droveway.Errorf(droveway.Internal, "TLS credentials: %w", err)
		}
		own = append(own, path)
	}
	return user.own(own...)
}

// onlyPeer is an access list that admits the one peer with a name in its
// certificate.
func onlyPeer(peer string) (id string, list object) {
	sum := sha256.Sum256([]byte(peer))
	id = "peer-" + hex.EncodeToString(sum[:6])
	cn := "CN=" + peer
	rules := []object{{"match": cn, "policy": "allow", "format": "exact"}}
	for _, match := range []string{cn + ",*", "*," + cn, "*," + cn + ",*"} {
		rules = append(rules, object{"match": match, "policy": "allow", "format": "glob"})
	}
	return id, object{"qom-type": "authz-list", "id": id, "policy": "deny", "rules": rules}
}

// addObject makes an object that is not there yet.
func (m *monitor) addObject(ctx context.Context, id string, o object) error {
	var there []struct{ Name string }
	err := m.execute(ctx, "qom-list", object{"path": "/objects"}, &there)
	if err != nil && !droveway.Is(err, droveway.NotFound) { // the storage daemon has no such path before its first object
		return err
	}
	if slices.ContainsFunc(there, func(t struct{ Name string }) bool { return t.Name == id }) {
		return nil
	}
	return m.execute(ctx, "object-add", o, nil)
}
