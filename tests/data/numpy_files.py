"""numpy_files.py -- the NumPy files of tests/test_npz.c.

    numpy_files.py FOLDER        writes stored.npz, packed.npz, version2.npy, version3.npy
    numpy_files.py --check FILE  checks the .npz that dg_cuda's writer made (test_npz.c, write_file)
Every array is arange(24) - 7 as (2, 3, 4), unless its name says otherwise. The files in this folder were written with NumPy 1.24.
"""
import sys
import numpy as np

TYPES = '|b1 |i1 |u1 <i2 <u2 <i4 <u4 <i8 <u8 <f2 <f4 <f8 >i2 >u4 >i8 >f2 >f4 >f8'.split()


def arrays():
    values = (np.arange(24) - 7).reshape(2, 3, 4)
    a = {'c_' + t: values.astype(t) for t in TYPES}
    a |= {'fortran_' + t: np.asfortranarray(values.astype(t)) for t in ('|u1', '<i2', '<f4', '>f8')}
    a['scalar'] = np.float32(3.5)
    a['empty'] = np.zeros((0, 5), 'f4')
    a['vector'] = np.arange(24) - 7
    return a


def write(folder):
    a = arrays()
    np.savez(folder + '/stored.npz', **a)
    np.savez_compressed(folder + '/packed.npz', **a)
    for version in 2, 3:
        with open(f'{folder}/version{version}.npy', 'wb') as f:
            np.lib.format.write_array(f, a['fortran_<f4'], version=(version, 0))


def check(file):
    z = np.load(file)
    want = (np.arange(24) - 7).reshape(2, 3, 4)
    for kind in 'b1 i1 u1 i2 u2 i4 u4 i8 u8 f2 f4 f8'.split():
        assert z[kind].dtype.str[1:] == kind and z[kind].shape == (2, 3, 4), kind
        assert (z[kind] == want.astype(kind)).all(), kind
    assert z['scalar'].shape == () and z['scalar'] == 3.5
    assert z['vector'].shape == (24,) and (z['vector'] == want.ravel()).all()
    assert z['empty'].shape == (0, 5)
    assert sorted(z.files) == sorted('b1 i1 u1 i2 u2 i4 u4 i8 u8 f2 f4 f8 scalar vector empty'.split())


if sys.argv[1] == '--check':
    check(sys.argv[2])
else:
    write(sys.argv[1])
