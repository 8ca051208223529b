// Package fleet says which objects the server keeps, and where: one typed table
// for each noun. It holds no logic.
package fleet

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/bus"
	"github.com/droveway/droveway/internal/engine/store"
	"github.com/droveway/droveway/internal/host"
)

// Fleet is the server's tables. Only the server writes them, but for the
// observed ones, whose one writer is the host that observes.
type Fleet struct {
	Stores   *store.Stores
	Hosts    store.Table[droveway.Host]
	Machines store.Table[droveway.Machine]
	Images   store.Table[droveway.Image]
	Networks store.Table[droveway.Network]
	Tokens   store.Table[Token]
	Probes   store.Table[Probe]
}

// Probe is a machine that a probe watches, whether or not it is a host of the
// fleet too.
type Probe struct {
	droveway.Meta
	Site string `json:"site"`           // in which its private addresses mean something
	NKey string `json:"nkey,omitempty"` // its identity on the bus: a public user key
}

// Token is a secret that lets somebody in: once, to join, or until it runs out,
// to use the API. Its name is the hash of the secret, which is kept nowhere.
type Token struct {
	droveway.Meta
	Role    string    `json:"role"` // "host" and "probe" to join, "admin" for the API, "agent" for a host's downloads
	Expires time.Time `json:"expires,omitzero"`
	UsedBy  string    `json:"used_by,omitempty"` // of a join token: the host or probe that spent it
	NKey    string    `json:"nkey,omitempty"`    // of an agent: its identity on the bus, a public user key
}

// Open opens the tables over a connection of the server.
func Open(ctx context.Context, conn *bus.Conn) (*Fleet, error) {
	s, err := store.Buckets(ctx, conn.JS)
	if err != nil {
		return nil, fmt.Errorf("open the fleet's tables: %w", err)
	}
	return &Fleet{
		Stores:   s,
		Hosts:    store.NewTable[droveway.Host](s.Objects, "host"),
		Machines: store.NewTable[droveway.Machine](s.Objects, "machine"),
		Images:   store.NewTable[droveway.Image](s.Objects, "image"),
		Networks: store.NewTable[droveway.Network](s.Objects, "network"),
		Tokens:   store.NewTable[Token](s.Objects, "token"),
		Probes:   store.NewTable[Probe](s.Objects, "probe"),
	}, nil
}

// HostReport is the table in which a host writes its own status, under the name
// "host".
func HostReport(s *store.Stores, name string) store.Table[droveway.HostStatus] {
	return store.NewTable[droveway.HostStatus](s.Observed, name)
}

// Observed is the table in which a host writes what it sees of its machines.
func Observed(s *store.Stores, name string) store.Table[host.Observed] {
	return store.NewTable[host.Observed](s.Observed, name+".machine")
}

// UUID is the identifier that a machine's guest sees: the same for all its
// instances, another for a later machine of the same name.
func UUID(m *droveway.Machine) string {
	sum := sha256.Sum256([]byte(m.Name + "\x00" + m.Created.UTC().Format(time.RFC3339Nano)))
	b := sum[:16]
	b[6] = b[6]&0x0f | 0x80 // version 8, RFC 9562: made by a rule of our own
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
