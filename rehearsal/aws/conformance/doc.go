// Package conformance holds the emulator against what others made of AWS: moto's server, which must take the same pipeline from the same
// binary; and the aws CLI with botocore's service model, which must understand what the emulator answers.
//
// It holds tests only, behind the build tag conformance: `make conformance` installs what they need. It must not soften the product for
// moto: what moto lacks stands by name in one table.
package conformance
