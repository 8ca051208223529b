package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"time"

	"github.com/droveway/droveway"
)

// NewRequest makes a key and a certificate request for it, both in PEM. The
// side that will use the certificate calls it, so its key never travels.
func NewRequest(name string) (csrPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, droveway.Errorf(droveway.Internal, "make a key: %w", err)
	}
	keyPEM, err = encodeKey(key)
	if err != nil {
		return nil, nil, err
	}
	csrPEM, err = request(name, key)
	return csrPEM, keyPEM, err
}

// Request makes a certificate request for a key that there is, in PEM. A key that
// cannot be read is Invalid.
func Request(name string, keyPEM []byte) (csrPEM []byte, err error) {
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, droveway.Errorf(droveway.Invalid, "key of %s: %w", name, err)
	}
	return request(name, key)
}

func request(name string, key *ecdsa.PrivateKey) ([]byte, error) {
	req := &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}
	der, err := x509.CreateCertificateRequest(rand.Reader, req, key)
	if err != nil {
		return nil, droveway.Errorf(droveway.Internal, "make a certificate request for %s: %w", name, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: requestBlock, Bytes: der}), nil
}

// Issue makes a key and a certificate for name, both in PEM, valid for as long as the
// authority. addrs are IP addresses and DNS names it is reached by, besides name
// itself.
func (a *Authority) Issue(name string, addrs []string) (certPEM, keyPEM []byte, err error) {
	csr, keyPEM, err := NewRequest(name)
	if err != nil {
		return nil, nil, err
	}
	certPEM, err = a.Lasting(life).Sign(csr, name, addrs)
	if err != nil {
		return nil, nil, err
	}
	return certPEM, keyPEM, nil
}

// Sign issues a certificate for the key of a certificate request. Name and
// addrs replace whatever the request asks for: a host that has joined under one
// name cannot get the certificate of another. A request that cannot be read or
// whose signature is wrong is Invalid.
func (a *Authority) Sign(csrPEM []byte, name string, addrs []string) ([]byte, error) {
	if name == "" {
		return nil, droveway.Errorf(droveway.Invalid, "certificate without a name: give one")
	}
	req, err := parseRequest(csrPEM)
	if err != nil {
		return nil, droveway.Errorf(droveway.Invalid, "certificate request of %s: %w", name, err)
	}
	der, err := x509.CreateCertificate(rand.Reader, a.leaf(name, addrs), a.cert, req.PublicKey, a.key)
	if err != nil {
		return nil, droveway.Errorf(droveway.Internal, "sign the certificate of %s: %w", name, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: certBlock, Bytes: der}), nil
}

func (a *Authority) leaf(name string, addrs []string) *x509.Certificate {
	now := time.Now()
	cert := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-clockSkew),
		NotAfter:     now.Add(a.life),
		// An ECDSA key enciphers nothing, but QEMU (crypto/tlscredsx509.c)
		// refuses a certificate without the bit.
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	// Nothing may outlive the root: verification would fail anyway.
	if cert.NotAfter.After(a.cert.NotAfter) {
		cert.NotAfter = a.cert.NotAfter
	}
	addNames(cert, append([]string{name}, addrs...))
	return cert
}

func addNames(cert *x509.Certificate, names []string) {
	seen := map[string]bool{"": true}
	for _, n := range names {
		if seen[n] {
			continue
		}
		seen[n] = true
		if ip := net.ParseIP(n); ip != nil {
			cert.IPAddresses = append(cert.IPAddresses, ip)
		} else {
			cert.DNSNames = append(cert.DNSNames, n)
		}
	}
}

// serial gives the 20 octets that RFC 5280, 4.1.2.2 allows, less the sign bit.
func serial() *big.Int {
	b := make([]byte, 20)
	_, _ = rand.Read(b) // never fails: the runtime ends the program instead
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b)
}
