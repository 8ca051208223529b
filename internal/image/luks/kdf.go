package luks

import (
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"hash"

	"golang.org/x/crypto/argon2"
)

const (
	kdfPBKDF2   = "pbkdf2"
	kdfArgon2i  = "argon2i"
	kdfArgon2id = "argon2id"
)

// What a header may ask for one try of a slot. cryptsetup takes at most 1 GiB by
// itself, and about two seconds.
const (
	maxIterations = 50_000_000
	maxMemory     = 1 << 20  // KiB
	maxWork       = 32 << 20 // KiB, over all passes
	maxLanes      = 64
	maxSalt       = 1024
)

// hashes are those that cryptsetup offers and that are still trusted with a key.
func hashes() map[string]func() hash.Hash {
	return map[string]func() hash.Hash{"sha1": sha1.New, "sha256": sha256.New, "sha384": sha512.New384, "sha512": sha512.New}
}

// kdf makes a key from a passphrase.
type kdf struct {
	kind       string
	salt       []byte
	hash       string // of PBKDF2
	iterations int    // of PBKDF2
	passes     int    // of Argon2
	memory     int    // of Argon2, in KiB
	lanes      int    // of Argon2
}

// digest tells the right volume key.
type digest struct {
	kdf  kdf
	want []byte
}

func (k *kdf) derive(pass []byte, size int) ([]byte, error) {
	if len(k.salt) == 0 || len(k.salt) > maxSalt {
		return nil, broken("a salt of %d bytes", len(k.salt))
	}
	switch k.kind {
	case kdfPBKDF2:
		h, err := hashNamed(k.hash)
		if err != nil {
			return nil, err
		}
		if k.iterations < 1 || k.iterations > maxIterations {
			return nil, unsupported("it asks for %d iterations of PBKDF2, and at most %d are made", k.iterations, maxIterations)
		}
		return pbkdf2.Key(h, string(pass), k.salt, k.iterations, size)
	case kdfArgon2i, kdfArgon2id:
		return k.argon2(pass, size)
	}
	return nil, unsupported("key derivation %q is not known", k.kind)
}

func (k *kdf) argon2(pass []byte, size int) ([]byte, error) {
	if k.passes < 1 || k.memory < 8 || k.lanes < 1 || k.lanes > maxLanes {
		return nil, broken("the numbers of its %s", k.kind)
	}
	if k.memory > maxMemory || k.passes > maxWork/k.memory {
		return nil, unsupported("its %s takes %d MiB %d times, and at most %d MiB, %d MiB in all, are taken: change the key where it came from, by cryptsetup luksConvertKey --pbkdf-memory 262144",
			k.kind, k.memory>>10, k.passes, maxMemory>>10, maxWork>>10)
	}
	derive := argon2.IDKey
	if k.kind == kdfArgon2i {
		derive = argon2.Key
	}
	return derive(pass, k.salt, uint32(k.passes), uint32(k.memory), uint8(k.lanes), uint32(size)), nil
}

func hashNamed(name string) (func() hash.Hash, error) {
	h := hashes()[name]
	if h == nil {
		return nil, unsupported("hash %q is not known", name)
	}
	return h, nil
}

// antiForensic is how a key was spread over many sectors, so that it is gone when
// one of them is.
type antiForensic struct {
	stripes int
	hash    string
}

// merge gives the key of size bytes that was split.
func (a *antiForensic) merge(split []byte, size int) ([]byte, error) {
	newHash, err := hashNamed(a.hash)
	if err != nil {
		return nil, err
	}
	key := make([]byte, size)
	for i := range a.stripes {
		if i > 0 {
			diffuse(key, newHash())
		}
		for j, b := range split[i*size : (i+1)*size] {
			key[j] ^= b
		}
	}
	return key, nil
}

// diffuse replaces each piece of b by the hash of its number and itself.
func diffuse(b []byte, h hash.Hash) {
	for i := 0; len(b) > 0; i++ {
		n := min(h.Size(), len(b))
		h.Reset()
		_, _ = h.Write(binary.BigEndian.AppendUint32(nil, uint32(i))) // a hash does not fail
		_, _ = h.Write(b[:n])
		copy(b[:n], h.Sum(nil))
		b = b[n:]
	}
}
