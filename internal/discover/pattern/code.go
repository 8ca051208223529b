// Package pattern writes a number as a sequence of connections and finds that
// sequence again among the connections that somebody else saw.
//
// A translator of addresses rewrites addresses and ports, but not when
// connections open and how long they stay open. The number is a message of four
// bytes in a Reed-Solomon code of length eight over GF(256) (I. S. Reed and G.
// Solomon, Polynomial Codes over Certain Finite Fields, 1960), so two patterns
// differ in at least five of their eight connections. The package is pure.
package pattern

import "time"

// The shape of a pattern: each symbol is one connection in a frame of its own,
// its high nibble the delay in the frame and its low nibble the time it stays
// open.
const (
	Length = 8 // connections
	Accept = 6 // of them have to be found
	Frame  = time.Second

	delayStep = 50 * time.Millisecond
	holdStep  = 20 * time.Millisecond
	HoldMin   = 40 * time.Millisecond
	HoldMax   = HoldMin + 15*holdStep

	// Duration is that of a whole pattern.
	Duration = Length*Frame + HoldMax
)

const (
	message    = 4     // bytes
	polynomial = 0x11d // of the field, as in QR codes
)

// Code is the eight symbols of a pattern.
type Code [Length]byte

// Encode gives the code of a number: the polynomial whose coefficients are its
// bytes, evaluated at eight points.
func Encode(id uint32) Code {
	var c Code
	x := byte(1)
	for i := range c {
		// Horner's rule, the last coefficient first.
		for k := message - 1; k >= 0; k-- {
			c[i] = multiply(c[i], x) ^ byte(id>>(8*k))
		}
		x = multiply(x, 2)
	}
	return c
}

// Timing gives the delay of each connection from the start of the pattern, and
// how long each stays open.
func (c Code) Timing() (delays, holds []time.Duration) {
	for i, symbol := range c {
		delays = append(delays, time.Duration(i)*Frame+time.Duration(symbol>>4)*delayStep)
		holds = append(holds, HoldMin+time.Duration(symbol&15)*holdStep)
	}
	return delays, holds
}

// multiply multiplies in GF(256), bit by bit: patterns are too few for tables.
func multiply(a, b byte) byte {
	var product int
	x := int(a)
	for ; b != 0; b >>= 1 {
		if b&1 != 0 {
			product ^= x
		}
		if x <<= 1; x > 0xff {
			x ^= polynomial
		}
	}
	return byte(product)
}
