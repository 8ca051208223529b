// Package lukstest makes small LUKS volumes for tests, at little cost for who opens
// them. It computes only.
package lukstest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/xts"
)

// UUID is that of all volumes.
const UUID = "11111111-2222-4333-8444-555555555555"

const (
	sector     = 512
	keySize    = 32
	iterations = 2
	area       = 8 << 10 // where the slot is
	data       = 12 << 10
	header2    = 4096
	spare      = 16 << 10 // the second copy of the header of version 2
	data2      = 32 << 10
	area2      = 24 << 10
)

func volumeKey() []byte { return []byte("the key of the volume, 32 bytes.") }

func salt() []byte { return []byte("a salt of 32 bytes, as of LUKS 1") }

func derive(secret []byte, size int) []byte {
	b, err := pbkdf2.Key(sha256.New, string(secret), salt(), iterations, size)
	if err != nil {
		panic(err) // it refuses sizes that are absurd
	}
	return b
}

// V1 makes a volume of version 1 with AES in CBC and ESSIV, whose only slot takes
// pass. The contents are whole sectors.
func V1(pass string, contents []byte) []byte {
	b := make([]byte, data+len(contents))
	be := binary.BigEndian
	copy(b, "LUKS\xba\xbe\x00\x01aes")
	copy(b[40:], "cbc-essiv:sha256")
	copy(b[72:], "sha256")
	be.PutUint32(b[104:], data/sector)
	be.PutUint32(b[108:], keySize)
	copy(b[112:], derive(volumeKey(), 20))
	copy(b[132:], salt())
	be.PutUint32(b[164:], iterations)
	copy(b[168:], UUID)
	s := b[208+48:] // the second slot; the first is empty
	be.PutUint32(s, 0x00ac71f3)
	be.PutUint32(s[4:], iterations)
	copy(s[8:], salt())
	be.PutUint32(s[40:], area/sector)
	be.PutUint32(s[44:], 1)
	copy(b[area:], volumeKey())
	essiv(derive([]byte(pass), keySize), b[area:area+sector])
	copy(b[data:], contents)
	essiv(volumeKey(), b[data:])
	return b
}

func essiv(key, b []byte) {
	sum := sha256.Sum256(key)
	c, salted := block(key), block(sum[:])
	for i := 0; i < len(b); i += sector {
		iv := make([]byte, aes.BlockSize)
		binary.LittleEndian.PutUint64(iv, uint64(i/sector))
		salted.Encrypt(iv, iv)
		cipher.NewCBCEncrypter(c, iv).CryptBlocks(b[i:i+sector], b[i:i+sector])
	}
}

func block(key []byte) cipher.Block {
	c, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // it refuses other sizes than those used here
	}
	return c
}

// V2 makes a volume of version 2 with AES in XTS and Argon2id, whose only slot
// takes pass, with sectors of 4096 bytes. The contents are whole sectors.
func V2(pass string, contents []byte) []byte {
	b := make([]byte, data2+len(contents))
	text := Metadata()
	for at, mark := range map[int]string{0: "LUKS", spare: "SKUL"} {
		h := b[at : at+spare/2]
		copy(h, mark+"\xba\xbe\x00\x02")
		binary.BigEndian.PutUint64(h[8:], uint64(len(h)))
		copy(h[72:], "sha256")
		copy(h[168:], UUID)
		binary.BigEndian.PutUint64(h[256:], uint64(at))
		copy(h[header2:], text)
		sum := sha256.Sum256(h)
		copy(h[448:], sum[:])
	}
	copy(b[area2:], volumeKey())
	encryptXTS(argon2.IDKey([]byte(pass), salt(), 1, 64, 1, keySize), b[area2:area2+sector], sector)
	copy(b[data2:], contents)
	encryptXTS(volumeKey(), b[data2:], 4096)
	return b
}

// encryptXTS numbers sectors in units of 512 bytes, as dm-crypt does.
func encryptXTS(key, b []byte, size int) {
	c, err := xts.NewCipher(aes.NewCipher, key)
	if err != nil {
		panic(err) // it refuses other sizes than those used here
	}
	for i := 0; i < len(b); i += size {
		c.Encrypt(b[i:i+size], b[i:i+size], uint64(i/sector))
	}
}

// Metadata is the text of the header of V2.
func Metadata() string {
	type object = map[string]any
	encode := base64.StdEncoding.EncodeToString
	b, err := json.Marshal(object{
		"keyslots": object{"3": object{
			"type": "luks2", "key_size": keySize, "af": object{"type": "luks1", "stripes": 1, "hash": "sha256"},
			"area": object{"type": "raw", "offset": fmt.Sprint(area2), "size": "512", "encryption": "aes-xts-plain64", "key_size": keySize},
			"kdf":  object{"type": "argon2id", "time": 1, "memory": 64, "cpus": 1, "salt": encode(salt())},
		}},
		"tokens":   object{"0": object{"type": "systemd-tpm2", "keyslots": []string{"3"}}},
		"segments": object{"0": object{"type": "crypt", "offset": fmt.Sprint(data2), "size": "dynamic", "iv_tweak": "0", "encryption": "aes-xts-plain64", "sector_size": 4096}},
		"digests": object{"0": object{
			"type": "pbkdf2", "keyslots": []string{"3"}, "segments": []string{"0"}, "hash": "sha256", "iterations": iterations,
			"salt": encode(salt()), "digest": encode(derive(volumeKey(), 32)),
		}},
		"config": object{"json_size": "4096", "keyslots_size": "8192"},
	})
	if err != nil {
		panic(err) // these are texts and numbers
	}
	return string(b)
}
