package qemu

import (
	"context"
	"crypto/sha256"
	_ "embed"
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

// dhParams is the group ffdhe2048 of RFC 7919. Without the file QEMU looks for a
// group of its own at each start of a server, which takes up to two seconds.
//
//go:embed ffdhe2048.pem
var dhParams string

// files are what QEMU reads of a TLS directory for a side.
func (e endpoint) files() []string {
	return []string{"ca-cert.pem", string(e) + "-cert.pem", string(e) + "-key.pem"}
}

// credentials gives the process of m the certificate of one side, and returns
// the id of the object; it is empty without TLS. The id says what the
// certificate is: a renewed one makes another object.
//
// QEMU reads the files once, so a copy of them that its user may read is there
// for that moment only.
func (m *monitor) credentials(ctx context.Context, tls *hypervisor.TLS, e endpoint, dir string, user *account) (string, error) {
	if tls == nil {
		return "", nil
	}
	sum := sha256.New()
	copied := filepath.Join(dir, "tls-"+string(e))
	defer os.RemoveAll(copied)
	if err := copyCredentials(tls.Dir, copied, e, user, sum); err != nil {
		return "", err
	}
	id := "tls-" + string(e) + "-" + hex.EncodeToString(sum.Sum(nil)[:6])
	return id, m.addObject(ctx, id, object{
		"qom-type": "tls-creds-x509", "id": id, "endpoint": e, "verify-peer": true, "dir": copied,
	})
}

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
		if err := os.WriteFile(path, []byte(dhParams), 0o600); err != nil {
			return droveway.Errorf(droveway.Internal, "TLS credentials: %w", err)
		}
		own = append(own, path)
	}
	return user.own(own...)
}

// only makes an access list that admits the one peer with a name in its
// certificate, and returns its id; it is empty without a name.
func (m *monitor) only(ctx context.Context, peer string) (string, error) {
	if peer == "" {
		return "", nil
	}
	sum := sha256.Sum256([]byte(peer))
	id := "peer-" + hex.EncodeToString(sum[:6])
	var rules []object
	cn := "CN=" + peer
	for match, format := range map[string]string{cn: "exact", cn + ",*": "glob", "*," + cn: "glob", "*," + cn + ",*": "glob"} {
		rules = append(rules, object{"match": match, "policy": "allow", "format": format})
	}
	return id, m.addObject(ctx, id, object{"qom-type": "authz-list", "id": id, "policy": "deny", "rules": rules})
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
