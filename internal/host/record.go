package host

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// record is what a host knows of a machine. It is on disk before the host acts
// on it, so that the next process finds whatever a killed one began. Of a
// machine that has left it keeps the token, as a fence against late commands; for how
// long, see forgetDeparted.
type record struct {
	Instance  Instance          `json:"instance"`
	Role      Role              `json:"role"`
	Handle    hypervisor.Handle `json:"handle,omitempty"`    // of the instance
	Peer      string            `json:"peer,omitempty"`      // of a move: the host on the other side
	Listen    string            `json:"listen,omitempty"`    // arriving: where it waits for memory
	Way       hypervisor.Way    `json:"way,omitempty"`       // arriving: how memory comes
	Secondary hypervisor.Handle `json:"secondary,omitempty"` // the process that serves the disks
	Export    string            `json:"export,omitempty"`    // where it serves them
	Exported  bool              `json:"exported,omitempty"`  // it is to have them open
	Origin    *TakeOver         `json:"origin,omitempty"`    // hydrating: where the disks come from
	Proved    bool              `json:"proved,omitempty"`    // hydrating: the disks are proved equal, and leave their origin
}

// blank reports whether the record says nothing of the machine, and so is not on disk.
func (r *record) blank() bool {
	return r.departed() && r.Instance.UUID == "" && r.Instance.Token == 0
}

// left is the role that an instance that is gone leaves behind: disks that were about to
// leave their origin are the machine's.
func (r *record) left(role Role) Role {
	if role == RoleHydrating && r.Proved {
		return RoleHome
	}
	return role
}

// must refuses a command in a role that it is not for.
func (r *record) must(verb string, roles ...Role) error {
	if slices.Contains(roles, r.Role) {
		return nil
	}
	return droveway.Errorf(droveway.Conflict, "machine %s is %s on this host: %s is for %v", r.Instance.Machine, r.Role, verb, roles)
}

// admit refuses a command that is older than what the host has seen.
func (r *record) admit(token uint64, in order) error {
	i, isInstance := instanceOf(in)
	if isInstance && r.Role == RoleNone && i.UUID != r.Instance.UUID {
		return nil // another machine of the same name: its tokens begin anew
	}
	if have := r.Instance.Token; token < have {
		return droveway.Errorf(droveway.Conflict, "machine %s: command with token %d is older than token %d, which this host has seen: it is refused", r.Instance.Machine, token, have)
	}
	return nil
}

// instanceOf is the instance that an order brings, if it brings one.
func instanceOf(in order) (Instance, bool) {
	switch v := in.(type) {
	case Instance:
		return v, true
	case Reserve:
		return v.Instance, true
	}
	return Instance{}, false
}

// A record is kept as one JSON object whose last member is a hash of all that stands
// before it: a record that says other than what was written, of the process that runs
// perhaps, is worse than one that says nothing. Records from before there was a hash
// have none, and neither have those that somebody mended by hand.
const (
	sumBegin = `,"sum":"`
	sumEnd   = `"}`
)

func (r *record) encode() ([]byte, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%s%s%x%s", b[:len(b)-1], sumBegin, sha256.Sum256(b), sumEnd), nil
}

// unseal gives the record's object without the hash, and whether it had one.
func unseal(b []byte) (object []byte, sealed bool, err error) {
	b = bytes.TrimSpace(b)
	at := len(b) - len(sumBegin) - hex.EncodedLen(sha256.Size) - len(sumEnd)
	if at < 0 || !bytes.HasPrefix(b[at:], []byte(sumBegin)) || !bytes.HasSuffix(b, []byte(sumEnd)) {
		return b, false, nil
	}
	object = append(bytes.Clone(b[:at]), '}')
	sum := sha256.Sum256(object)
	if have := b[at+len(sumBegin) : len(b)-len(sumEnd)]; hex.EncodeToString(sum[:]) != string(have) {
		return nil, false, droveway.Errorf(droveway.Invalid, "it is not what was written: its hash differs from the one in it")
	}
	return object, true, nil
}

// parseRecord reads the record of a machine. Errors: Invalid, it is damaged;
// Unsupported, it is whole, but another version of the agent wrote it. What this version
// does not know it must not pass over: it may be what keeps a guest from running twice.
func parseRecord(machine string, b []byte) (*record, error) {
	object, sealed, err := unseal(b)
	if err != nil {
		return nil, err
	}
	rec := &record{}
	switch err := rec.decode(object); {
	case err != nil && sealed:
		return nil, droveway.Errorf(droveway.Unsupported, "it was written by another version of the agent: %w", err)
	case err != nil:
		return nil, droveway.Errorf(droveway.Invalid, "%w", err)
	case rec.Instance.Machine != machine:
		return nil, droveway.Errorf(droveway.Invalid, "it is of machine %q", rec.Instance.Machine)
	}
	return rec, nil
}

func (r *record) decode(object []byte) error {
	d := json.NewDecoder(bytes.NewReader(object))
	d.DisallowUnknownFields()
	if err := d.Decode(r); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("more follows after byte %d", d.InputOffset())
	}
	if !slices.Contains(recordedRoles, r.Role) {
		return fmt.Errorf("role %q is unknown", r.Role)
	}
	return nil
}
