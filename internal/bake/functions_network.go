package bake

import (
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// The functions of networks in the form ADDRESS/BITS.
var (
	cidrhost = function.New(&function.Spec{
		Params: []function.Parameter{{Name: "prefix", Type: cty.String}, {Name: "number", Type: cty.Number}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			p, err := netip.ParsePrefix(args[0].AsString())
			if err != nil {
				return cty.NilVal, err
			}
			n, _ := args[1].AsBigFloat().Int(nil)
			size := new(big.Int).Lsh(big.NewInt(1), uint(p.Addr().BitLen()-p.Bits()))
			if n.Sign() < 0 {
				n.Add(n, size) // from the end
			}
			if n.Sign() < 0 || n.Cmp(size) >= 0 {
				return cty.NilVal, fmt.Errorf("%s has no address of that number", p)
			}
			a, err := plus(p.Masked().Addr(), n)
			return cty.StringVal(a.String()), err
		},
	})
	cidrnetmask = ofTexts([]string{"prefix"}, func(a []string) (string, error) {
		p, err := netip.ParsePrefix(a[0])
		if err == nil && !p.Addr().Is4() {
			err = errors.New("IPv6 has no masks")
		}
		if err != nil {
			return "", err
		}
		return net.IP(net.CIDRMask(p.Bits(), 32)).String(), nil
	})
	cidrsubnet = function.New(&function.Spec{
		Params: []function.Parameter{{Name: "prefix", Type: cty.String}, {Name: "newbits", Type: cty.Number}, {Name: "number", Type: cty.Number}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			p, err := netip.ParsePrefix(args[0].AsString())
			if err != nil {
				return cty.NilVal, err
			}
			more, _ := args[1].AsBigFloat().Int64()
			n, _ := args[2].AsBigFloat().Int(nil)
			s, err := subnet(p, int(more), n)
			return cty.StringVal(s.String()), err
		},
	})
	cidrsubnets = function.New(&function.Spec{
		Params:   []function.Parameter{{Name: "prefix", Type: cty.String}},
		VarParam: &function.Parameter{Name: "newbits", Type: cty.Number},
		Type:     function.StaticReturnType(cty.List(cty.String)),
		Impl:     subnets,
	})
)

// subnet is one of the networks of which a network consists.
func subnet(p netip.Prefix, more int, n *big.Int) (netip.Prefix, error) {
	bits, all := p.Bits()+more, p.Addr().BitLen()
	if more < 0 || bits > all {
		return p, fmt.Errorf("%s has no parts of %d more bits", p, more)
	}
	if n.Sign() < 0 || n.BitLen() > more {
		return p, fmt.Errorf("%s has no part of that number", p)
	}
	a, err := plus(p.Masked().Addr(), new(big.Int).Lsh(n, uint(all-bits)))
	return netip.PrefixFrom(a, bits), err
}

// subnets are parts that follow each other.
func subnets(args []cty.Value, _ cty.Type) (cty.Value, error) {
	p, err := netip.ParsePrefix(args[0].AsString())
	if err != nil {
		return cty.NilVal, err
	}
	at := new(big.Int).SetBytes(p.Masked().Addr().AsSlice())
	start, all := new(big.Int).Set(at), p.Addr().BitLen()
	end := new(big.Int).Add(start, new(big.Int).Lsh(big.NewInt(1), uint(all-p.Bits())))
	list := []cty.Value{}
	for _, arg := range args[1:] {
		more, _ := arg.AsBigFloat().Int64()
		bits := p.Bits() + int(more)
		if more < 1 || bits > all {
			return cty.NilVal, fmt.Errorf("%s has no parts of %d more bits", p, more)
		}
		size := new(big.Int).Lsh(big.NewInt(1), uint(all-bits))
		// A network begins at a multiple of its size.
		at.Add(at, new(big.Int).Sub(size, big.NewInt(1)))
		at.Div(at, size)
		at.Mul(at, size)
		next := new(big.Int).Add(at, size)
		if next.Cmp(end) > 0 {
			return cty.NilVal, fmt.Errorf("%s has not so many parts", p)
		}
		a, err := plus(p.Masked().Addr(), new(big.Int).Sub(at, start))
		if err != nil {
			return cty.NilVal, err
		}
		list = append(list, cty.StringVal(netip.PrefixFrom(a, bits).String()))
		at = next
	}
	if len(list) == 0 {
		return cty.ListValEmpty(cty.String), nil
	}
	return cty.ListVal(list), nil
}

// plus adds a number to an address.
func plus(a netip.Addr, n *big.Int) (netip.Addr, error) {
	sum := new(big.Int).Add(new(big.Int).SetBytes(a.AsSlice()), n)
	b := make([]byte, a.BitLen()/8)
	if sum.BitLen() > a.BitLen() {
		return a, errors.New("there is no such address")
	}
	at, _ := netip.AddrFromSlice(sum.FillBytes(b))
	return at, nil
}
