// Package fositetest compares the demo provider with ory/fosite, the library behind Ory Hydra, where both do the same:
// rotation, reuse detection, revocation and introspection. It is a module of its own because fosite brings some sixty others.
package fositetest
