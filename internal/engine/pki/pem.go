package pki

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/droveway/droveway"
)

// Names of PEM blocks (RFC 7468).
const (
	certBlock    = "CERTIFICATE"
	requestBlock = "CERTIFICATE REQUEST"
	keyBlock     = "PRIVATE KEY"
)

func parseRequest(text []byte) (*x509.CertificateRequest, error) {
	der, err := decode(text, requestBlock)
	if err != nil {
		return nil, err
	}
	req, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, err
	}
	if err := req.CheckSignature(); err != nil {
		return nil, err
	}
	return req, nil
}

func parseCertificate(text []byte) (*x509.Certificate, error) {
	der, err := decode(text, certBlock)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func parseKey(text []byte) (*ecdsa.PrivateKey, error) {
	der, err := decode(text, keyBlock)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("not an ECDSA key")
	}
	return ec, nil
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, droveway.Errorf(droveway.Internal, "encode a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: der}), nil
}

func decode(text []byte, block string) ([]byte, error) {
	b, _ := pem.Decode(text)
	if b == nil || b.Type != block {
		return nil, fmt.Errorf("no PEM block %q", block)
	}
	return b.Bytes, nil
}

// WriteFile makes path appear whole or not at all, also across a power cut.
func WriteFile(path string, content []byte, mode os.FileMode) (err error) {
	defer func() {
		if err != nil {
			err = droveway.Errorf(droveway.Internal, "write %s: %w", path, err)
		}
	}()
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone already once renamed
	if err := fill(f, content, mode); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func fill(f *os.File, content []byte, mode os.FileMode) error {
	_, err := f.Write(content)
	return errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
