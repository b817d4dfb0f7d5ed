// Package nats holds the configuration of the NATS server, for the programs that try it.
package nats

import (
	_ "embed"
	"strings"
)

// Config is nats-server.conf.
//
//go:embed nats-server.conf
var Config string

// Users are those of the configuration.
func Users() []string {
	return []string{"publisher", "worker", "access", "eraser", "payroll", "operator"}
}

// WithPasswords is the configuration with a password in place of each variable.
func WithPasswords(password func(user string) string) string {
	config := Config
	for _, user := range Users() {
		config = strings.ReplaceAll(config, "$"+strings.ToUpper(user)+"_PASSWORD", password(user))
	}
	return config
}

// WithoutTLS is a configuration without its tls block.
func WithoutTLS(config string) string {
	before, rest, _ := strings.Cut(config, "\ntls {")
	_, after, _ := strings.Cut(rest, "\n}\n")
	return before + "\n" + after
}
