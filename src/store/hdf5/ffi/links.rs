//! Links: walking them, and the groups and objects that they lead to.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::mem::MaybeUninit;
use std::ptr::null_mut;

use anyhow::Result;
use hdf5::globals::H5P_LINK_ACCESS;
use hdf5_sys::h5::{H5_index_t::H5_INDEX_NAME, H5_iter_order_t::H5_ITER_INC};
use hdf5_sys::h5r::{H5R_type_t::H5R_OBJECT1 as H5R_OBJECT, H5Rget_name};
use hdf5_sys::{h5g::*, h5i::*, h5l::*, h5o::*, h5p::*};

use super::call::{Id, answer, done, id, number, sized};
use super::lists::create_list;

/// Whether what an external link leads to may be opened: asked with the path of the file that has the link, and the file
/// and the path there that the link names.
pub type MayOpen<'a> = &'a mut dyn FnMut(&CStr, &CStr, &CStr) -> bool;

/// Makes a call with a link access list that asks before it leads into another file.
fn walk<N: Into<i64>>(mut may_open: MayOpen, call: impl FnOnce(hid_t) -> N) -> Result<i64> {
    extern "C" fn before_external(
        from: *const c_char,
        _: *const c_char,
        to: *const c_char,
        path: *const c_char,
        _: *mut c_uint,
        _: hid_t,
        may_open: *mut c_void,
    ) -> c_int {
        answer(-1, || {
            // SAFETY: the library gives C strings, and the closure of `walk`, which outlives the list and which nothing
            // else touches while the list is used.
            let may = unsafe {
                let may_open = &mut *may_open.cast::<MayOpen>();
                let [from, to, path] = [from, to, path].map(|text| CStr::from_ptr(text));
                may_open(from, to, path)
            };
            if may { 0 } else { -1 }
        })
    }
    let list = create_list(&H5P_LINK_ACCESS)?;
    let data: *mut c_void = (&raw mut may_open).cast();
    // SAFETY: the closure outlives the list, which is used for this one call.
    done(|| unsafe { H5Pset_elink_cb(list.0, Some(before_external), data) })?;
    number(|| call(list.0))
}

/// Whether a group has a link of that name, wherever it leads.
pub fn link_exists(group: &Id, name: &CStr, may_open: MayOpen) -> Result<bool> {
    let (at, name) = (group.0, name.as_ptr());
    // SAFETY: the name is a C string.
    Ok(walk(may_open, |links| unsafe { H5Lexists(at, name, links) })? > 0)
}

pub fn open_object(group: &Id, name: &CStr, may_open: MayOpen) -> Result<Id> {
    let (at, name) = (group.0, name.as_ptr());
    // SAFETY: the name is a C string.
    walk(may_open, |links| unsafe { H5Oopen(at, name, links) }).map(Id)
}

/// The absolute path of an object in its file.
pub fn object_path(object: &Id) -> Result<Vec<u8>> {
    // SAFETY: the buffer has room for `size` bytes.
    sized(|buf, size| unsafe { H5Iget_name(object.0, buf, size) })
}

/// The path of what an object reference leads to, in the file of `object`.
pub fn referenced_path(object: &Id, reference: &[u8; 8]) -> Result<Vec<u8>> {
    let reference = reference.as_ptr().cast();
    // SAFETY: an object reference takes 8 bytes; the buffer has room for `size`.
    sized(|buf, size| unsafe { H5Rget_name(object.0, H5R_OBJECT, reference, buf, size) })
}

/// What is told of an object in a file.
pub struct Info {
    /// The number of the file that is open, and of the object in it.
    pub identity: (u64, u128),
    pub kind: H5O_type_t,
}

impl Info {
    fn of<N: Into<i64>>(tell: impl FnOnce(*mut H5O_info2_t) -> Result<N>) -> Result<Info> {
        let mut info = MaybeUninit::<H5O_info2_t>::uninit();
        let at = info.as_mut_ptr();
        tell(at)?;
        // SAFETY: the library has filled all three; a token is 16 bytes.
        let (file, kind, token) = unsafe {
            let token = (&raw const (*at).token).cast::<[u8; 16]>();
            ((*at).fileno, (*at).type_, token.read())
        };
        let identity = (file, u128::from_ne_bytes(token));
        Ok(Info { identity, kind })
    }

    /// Of what a path leads to, which is not opened.
    pub fn at(group: &Id, path: &CStr, may_open: MayOpen) -> Result<Info> {
        let (at, path, fields) = (group.0, path.as_ptr(), H5O_INFO_BASIC);
        Info::of(|info| {
            // SAFETY: the path is a C string; there is room for the structure.
            let tell = |links| unsafe { H5Oget_info_by_name3(at, path, info, fields, links) };
            walk(may_open, tell)
        })
    }

    /// Where the header of the object lies, as addresses count in its file.
    pub fn address(&self) -> u64 {
        // How the library makes a token of an address (`H5VL_native_addr_to_token`).
        u128::from_le_bytes(self.identity.1.to_ne_bytes()) as u64
    }
}

/// The number of the file that is open, and of the object in it.
pub fn identity(object: &Id) -> Result<(u64, u128)> {
    // SAFETY: there is room for the structure.
    let tell = |info| number(|| unsafe { H5Oget_info3(object.0, info, H5O_INFO_BASIC) });
    Ok(Info::of(tell)?.identity)
}

/// What iterations over names call; `found` is the list that they were given.
pub(super) unsafe extern "C" fn name<Info, const OF_LINK: bool>(
    _: hid_t,
    name: *const c_char,
    info: *const Info,
    found: *mut c_void,
) -> c_int {
    // SAFETY: the list outlives the iteration, and nothing else touches it meanwhile; the name is a C string; the type
    // comes first in what is told of a link.
    answer(-1, || unsafe {
        let kind = if OF_LINK {
            info.cast::<c_int>().read()
        } else {
            0
        };
        let name = CStr::from_ptr(name).to_bytes().to_vec();
        (*found.cast::<Vec<(Vec<u8>, c_int)>>()).push((name, kind));
        0
    })
}

/// The names of a group's links, each with its type as the file has it, which may be none that is known.
pub fn links(group: &Id) -> Result<Vec<(Vec<u8>, c_int)>> {
    let mut found: Vec<(Vec<u8>, c_int)> = vec![];
    let (by, order, to) = (H5_INDEX_NAME, H5_ITER_INC, (&raw mut found).cast());
    let each = Some(name::<H5L_info2_t, true> as _);
    // SAFETY: the callback gets the list.
    done(|| unsafe { H5Literate2(group.0, by, order, null_mut(), each, to) })?;
    Ok(found)
}

/// `links` and `how` are lists for the creation of links and of groups.
pub fn create_group(parent: &Id, name: &CStr, links: &Id, how: &Id) -> Result<Id> {
    let name = name.as_ptr();
    // SAFETY: the name is a C string.
    id(|| unsafe { H5Gcreate2(parent.0, name, links.0, how.0, H5P_DEFAULT) })
}

pub fn copy_object(from: &Id, to: &Id, name: &CStr, how: &Id, links: &Id) -> Result<()> {
    let (own, name) = (c".".as_ptr(), name.as_ptr());
    // SAFETY: the names are C strings.
    done(|| unsafe { H5Ocopy(from.0, own, to.0, name, how.0, links.0) })
}
