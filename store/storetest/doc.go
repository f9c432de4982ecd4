// Package storetest has the contract of [store.Store] as a test suite.
package storetest
