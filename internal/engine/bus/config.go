package bus

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/pki"
)

// tlsName is the name in the certificate of every NATS server of a fleet. No
// host can have it, for it is no host name; and because all ask for it, the
// addresses of the servers may change freely.
const tlsName = "bus.droveway.internal"

// configText is the configuration of a NATS server, embedded or external
// (https://docs.nats.io/running-a-nats-service/configuration).
//
// sync: always, because a journal entry that was acknowledged must survive a
// power cut. The limits keep the server small: streams are in files, memory is
// for the cursors of their readers.
const configText = `%s
tls {
  cert_file: %q
  key_file: %q
  min_version: "1.2"
}

jetstream {
  store_dir: %q
  sync: always
  max_mem: 16MB
  max_file: 4GB
}

operator: %s
system_account: %s
resolver: MEMORY
resolver_preload: {
  %s: %s
  %s: %s
}
`

func config(head, dir string, c claims) string {
	return fmt.Sprintf(configText, head,
		filepath.Join(dir, certFile), filepath.Join(dir, keyFile), filepath.Join(dir, streamsDir),
		c.operator, c.systemID, c.accountID, c.account, c.systemID, c.system)
}

// prepare makes whatever is missing in dir and gives the configuration of a
// NATS server that uses it.
func prepare(head, dir string, k keyring, authority *pki.Authority) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", droveway.Errorf(droveway.Internal, "directory of the bus: %w", err)
	}
	cert, key, err := authority.Issue(tlsName, nil)
	if err != nil {
		return "", err
	}
	if err := writeFile(filepath.Join(dir, certFile), cert); err != nil {
		return "", err
	}
	if err := writeFile(filepath.Join(dir, keyFile), key); err != nil {
		return "", err
	}
	r, err := readRevoked(dir)
	if err != nil {
		return "", err
	}
	c, err := k.claims(r)
	if err != nil {
		return "", err
	}
	return config(head, dir, c), nil
}

// externalHead explains the text of ExternalConfig to whoever edits it.
const externalHead = `# NATS server (2.11 or later) for an external bus of Droveway.
# Copy the two files named under tls to the machine that runs it, and change
# their paths, store_dir and listen to suit it. For a cluster give each server
# its own server_name and a cluster block
# (https://docs.nats.io/running-a-nats-service/configuration/clustering).
listen: "0.0.0.0:4222"
server_name: "bus-1"
`

// ExternalConfig gives the configuration for the NATS servers of an external
// bus: they trust the operator whose seeds are kept in dir, and show a
// certificate of the authority, which is put into dir too. Seeds that are
// missing are made.
func ExternalConfig(dir string, authority *pki.Authority) (string, error) {
	k, err := openKeys(dir)
	if err != nil {
		return "", err
	}
	return prepare(externalHead, dir, k, authority)
}

// embeddedHead says where the embedded server listens; port 0 is any free one.
func embeddedHead(host, port string) string {
	if port == "0" {
		port = "-1" // NATS takes 0 for its default
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return fmt.Sprintf("listen: %q\nserver_name: \"droveway\"\n", host+":"+port)
}
