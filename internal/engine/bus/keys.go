package bus

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/droveway/droveway"
)

// Files of the bus's directory.
const (
	operatorSeed = "operator.seed"
	accountSeed  = "account.seed"
	systemSeed   = "system.seed"
	certFile     = "server-cert.pem"
	keyFile      = "server-key.pem"
	streamsDir   = "streams"
)

// keyring is the chain of trust of a bus (NATS operator mode): the operator
// signs two accounts; the account of the fleet signs its users.
type keyring struct {
	operator, account, system nkeys.KeyPair
}

// openKeys reads the seeds in dir and makes those that are missing.
func openKeys(dir string) (k keyring, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return k, droveway.Errorf(droveway.Internal, "make the directory of the bus: %w", err)
	}
	var errs [3]error
	k.operator, errs[0] = openSeed(filepath.Join(dir, operatorSeed), nkeys.CreateOperator)
	k.account, errs[1] = openSeed(filepath.Join(dir, accountSeed), nkeys.CreateAccount)
	k.system, errs[2] = openSeed(filepath.Join(dir, systemSeed), nkeys.CreateAccount)
	return k, errors.Join(errs[:]...)
}

func openSeed(path string, create func() (nkeys.KeyPair, error)) (nkeys.KeyPair, error) {
	if _, err := os.Stat(path); os.IsNotExist(err) {
		return makeSeed(path, create)
	}
	return readSeed(path)
}

func readSeed(path string) (nkeys.KeyPair, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, droveway.Errorf(droveway.Internal, "read a seed of the bus: %w", err)
	}
	pair, err := nkeys.FromSeed([]byte(strings.TrimSpace(string(text))))
	if err != nil {
		return nil, droveway.Errorf(droveway.Internal, "seed %s is damaged: %w: restore it from a backup", path, err)
	}
	return pair, nil
}

func makeSeed(path string, create func() (nkeys.KeyPair, error)) (nkeys.KeyPair, error) {
	pair, err := create()
	if err != nil {
		return nil, droveway.Errorf(droveway.Internal, "make a key of the bus: %w", err)
	}
	seed, err := pair.Seed()
	if err != nil {
		return nil, droveway.Errorf(droveway.Internal, "make a key of the bus: %w", err)
	}
	return pair, writeFile(path, append(seed, '\n'))
}

// writeFile makes path appear whole or not at all, readable by its owner only.
func writeFile(path string, content []byte) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return droveway.Errorf(droveway.Internal, "write %s: %w", path, err)
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return droveway.Errorf(droveway.Internal, "write %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return droveway.Errorf(droveway.Internal, "write %s: %w", path, err)
	}
	return nil
}

// claims are the signed texts that a NATS server needs to know the fleet.
type claims struct {
	operator, account, system string // JWTs
	accountID, systemID       string // public keys
}

func (k keyring) claims(r revoked) (c claims, err error) {
	var errs [6]error
	operatorID, err := k.operator.PublicKey()
	errs[0] = err
	c.accountID, errs[1] = k.account.PublicKey()
	c.systemID, errs[2] = k.system.PublicKey()

	account := jwt.NewAccountClaims(c.accountID)
	account.Name = "droveway"
	account.Limits.JetStreamLimits = jwt.JetStreamLimits{
		MemoryStorage: jwt.NoLimit, DiskStorage: jwt.NoLimit,
		Streams: jwt.NoLimit, Consumer: jwt.NoLimit, MaxAckPending: jwt.NoLimit,
	}
	r.into(account)
	c.account, errs[3] = account.Encode(k.operator)

	system := jwt.NewAccountClaims(c.systemID)
	system.Name = "system"
	c.system, errs[4] = system.Encode(k.operator)

	operator := jwt.NewOperatorClaims(operatorID)
	operator.Name = "droveway"
	operator.SystemAccount = c.systemID
	c.operator, errs[5] = operator.Encode(k.operator)
	if err := errors.Join(errs[:]...); err != nil {
		return c, droveway.Errorf(droveway.Internal, "sign the accounts of the bus: %w", err)
	}
	return c, nil
}
