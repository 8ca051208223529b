package luks

import (
	"bytes"
	"context"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/droveway/droveway"
)

const (
	maxKeyFile = 8 << 20 // bytes, as of cryptsetup
	maxKeys    = 64
	maxSent    = 64 << 10 // bytes of a key that is given from afar
)

// Key opens containers.
type Key struct {
	Name string // of the file, for messages
	UUID string // of the container it is for; empty: it may open any
	pass []byte
}

// String and GoString give the name alone, so that no log gets the key.
func (k Key) String() string   { return k.Name }
func (k Key) GoString() string { return k.Name }

// uuidText is what UUIDs look like.
var uuidText = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// ReadKeys reads key files, each given as FILE or UUID=FILE. A file holds a key of
// any bytes, or a passphrase, perhaps with a line end.
func ReadKeys(args []string) ([]Key, error) {
	if len(args) > maxKeys {
		return nil, droveway.Errorf(droveway.Invalid, "%d keys: at most %d can be given", len(args), maxKeys)
	}
	var keys []Key
	for _, arg := range args {
		k := Key{Name: arg}
		if id, file, ok := strings.Cut(arg, "="); ok && uuidText.MatchString(id) {
			k.UUID, k.Name = id, file
		}
		var err error
		if k.pass, err = readKey(k.Name); err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// NewKey takes a key that was sent. The name is that of the file it is in there.
func NewKey(name, uuid string, key []byte) (Key, error) {
	switch {
	case uuid != "" && !uuidText.MatchString(uuid):
		return Key{}, droveway.Errorf(droveway.Invalid, "key %s is for volume %q, which is no UUID", name, uuid)
	case len(key) == 0 || len(key) > maxSent:
		return Key{}, droveway.Errorf(droveway.Invalid, "key %s has %d bytes: give one of 1 to %d", name, len(key), maxSent)
	}
	return Key{Name: name, UUID: uuid, pass: key}, nil
}

// Secret is the key itself, to be sent to who opens the container.
func (k *Key) Secret() []byte { return k.pass }

func readKey(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, droveway.Errorf(droveway.Invalid, "read the key: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	switch {
	case err != nil:
		return nil, droveway.Errorf(droveway.Invalid, "read the key: %w", err)
	case len(b) == 0:
		return nil, droveway.Errorf(droveway.Invalid, "key file %s is empty", file)
	case len(b) > maxKeyFile:
		return nil, droveway.Errorf(droveway.Invalid, "key file %s is longer than %d bytes: it is no key", file, maxKeyFile)
	}
	return b, nil
}

// For reports whether the key may be tried on a container.
func (k *Key) For(c *Container) bool {
	return k.UUID == "" || strings.EqualFold(k.UUID, c.UUID)
}

// Open unlocks a container with the key: with the file as it is, and if that ends
// a line, without the line end, as an editor leaves it behind a passphrase.
func (k *Key) Open(ctx context.Context, c *Container) (Volume, error) {
	v, err := c.Unlock(ctx, k.pass)
	if line := bytes.TrimSuffix(k.pass, []byte("\n")); droveway.Is(err, droveway.Permission) && len(line) > 0 && len(line) < len(k.pass) {
		return c.Unlock(ctx, bytes.TrimSuffix(line, []byte("\r")))
	}
	return v, err
}
