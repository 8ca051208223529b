package store

import (
	"encoding/hex"
	"strings"
)

// A name becomes one token of a key: letters, digits, - and _ stand for
// themselves, any other byte is written =XX (hexadecimal, upper case). So a
// table sees exactly the keys of its own prefix, never those of a longer one.
const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

func encodeName(name string) string {
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		if strings.IndexByte(plain, c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('=')
		b.WriteString(strings.ToUpper(hex.EncodeToString([]byte{c})))
	}
	return b.String()
}

// decodeName is the reverse; a token that encodeName cannot have made is kept
// as it is.
func decodeName(token string) string {
	var b strings.Builder
	for i := 0; i < len(token); i++ {
		if token[i] != '=' || i+2 >= len(token) {
			b.WriteByte(token[i])
			continue
		}
		c, err := hex.DecodeString(token[i+1 : i+3])
		if err != nil {
			return token
		}
		b.Write(c)
		i += 2
	}
	return b.String()
}
